package outbox

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is found by errors.Is in every error that says that events were refused before anything was written.
var ErrInvalid = errors.New("invalid event")

// InvalidError names what is wrong with the events of one Insert. errors.Is finds [ErrInvalid] in it.
type InvalidError struct {
	// Events is how many events the call had.
	Events int
	// Faults are all faults, in the order of the events.
	Faults []Fault
}

// Fault is one thing that is wrong with one event.
type Fault struct {
	// Index is the event's place in the call, from 0.
	Index int
	// ID is the event's identity, if its maker set one.
	ID string
	// Field is the name of the field of [Event], with the header's name for one of the headers: Headers["a"].
	Field string
	// Problem says what is wrong and what is right. It never contains a key, a payload or a header's value.
	Problem string
}

func (f Fault) String() string {
	if f.ID == "" {
		return fmt.Sprintf("event %d: %s %s", f.Index, f.Field, f.Problem)
	}
	return fmt.Sprintf("event %d (id %q): %s %s", f.Index, f.ID, f.Field, f.Problem)
}

// shownFaults keeps the message of a bad bulk insert readable; Faults has them all.
const shownFaults = 10

func (e *InvalidError) Error() string {
	lines := make([]string, 0, shownFaults+1)
	for i, fault := range e.Faults {
		if i == shownFaults {
			lines = append(lines, fmt.Sprintf("and %d more", len(e.Faults)-shownFaults))
			break
		}
		lines = append(lines, fault.String())
	}
	return "nothing was written, " + ErrInvalid.Error() + ": " + strings.Join(lines, "; ")
}

// Is makes errors.Is find ErrInvalid.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }
