// Package maven brings Java programs onto the machine: Maven resolves a pom.xml into a cache folder, once for the
// machine's user, and [Java] finds what runs it.
//
// The promise: a folder that [Bundle.Folder] returns is whole, however many programs ask at once and whenever they are
// killed. It gets its name by a rename when everything is in it, and the name holds the hash of the pom.xml, so another
// version is another folder.
package maven
