//go:build mutants

package mutant

import "os"

var planted = os.Getenv("RELAY_MUTANT")

// On says whether the known-bad variant of this name is planted.
func On(name string) bool { return name == planted }
