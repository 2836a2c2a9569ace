// Package mutant plants known-bad variants of the protocol, so that tests can prove that they would be caught.
//
// In a normal build [On] is constantly false and the variants are compiled away. Built with the tag "mutants", the
// variant named by the environment variable RELAY_MUTANT is on. Each name stands at exactly one place in the code.
package mutant
