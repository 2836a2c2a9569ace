// Package config turns a TOML file and the environment into a [Config].
//
// What it promises: every fault is reported at once, each with the place it was written (file:line, or the name of
// the environment variable), the key and the reason; an unknown key or variable is a fault; a value that was not
// written has the default of [Default], and zero is a value like any other; no secret is ever part of an error or
// of anything that is printed.
//
// What it does not promise: that the servers it names exist or answer. `relay check` looks at that.
//
//	defaults ──► file ──► environment ──► validation ──► Config
//	                │           │              │
//	                └───────────┴──────────────┴──► Faults (all of them, sorted by place)
//
// The keys are the fields of [Config]: the toml tags say their names, and nothing else lists them. The environment
// variable of a key is RELAY_ and its path in capitals: lease.ttl is RELAY_LEASE_TTL.
package config
