package clients

import (
	"fmt"
	"strings"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/franz"
)

// All clients of this build; the first is the default.
func All() []publisher.Client { return append(native(), franz.Client{}) }

// Named is the client of that name. The error says which there are.
func Named(name string) (publisher.Client, error) {
	var names []string
	for _, c := range All() {
		if c.Name() == name {
			return c, nil
		}
		names = append(names, fmt.Sprintf("%q", c.Name()))
	}
	return nil, fmt.Errorf("the Kafka client %q is not in this build: it has %s", name, strings.Join(names, " and "))
}
