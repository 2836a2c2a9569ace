//go:build !cgo

package librdkafka

// librdkafka is a C library. Go leaves every file that needs cgo out when there is no C compiler or CGO_ENABLED is 0,
// and then complains about names that look like a fault of ours. This undefined name is the sentence a person needs.
var _ = building_relay_needs_cgo_and_a_C_compiler__run_make_setup_and_build_with_CGO_ENABLED_1
