//go:build !faults

package fault

// At marks a point between two steps. It does nothing in a normal build.
func At(string) error { return nil }
