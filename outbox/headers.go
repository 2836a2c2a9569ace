package outbox

import "cmp"

// HeaderNames is what the relay's own headers are called, where [headers] of its configuration renames them. Empty: the
// default. [NoHeader]: the relay leaves the header out, as "" in its configuration says.
type HeaderNames struct {
	ID        string // id
	Type      string // type
	CreatedAt string // created_at
}

// NoHeader stands in [HeaderNames] for a header that the relay does not write: an event may have one of the default name.
const NoHeader = "\x00"

// inFull has a name for each header that the relay writes, and "" for one that it leaves out.
func (n HeaderNames) inFull() HeaderNames {
	name := func(given, standard string) string {
		if given == NoHeader {
			return ""
		}
		return cmp.Or(given, standard)
	}
	return HeaderNames{ID: name(n.ID, "id"), Type: name(n.Type, "type"), CreatedAt: name(n.CreatedAt, "created_at")}
}

// has is for names in full.
func (n HeaderNames) has(name string) bool {
	return name != "" && (name == n.ID || name == n.Type || name == n.CreatedAt)
}
