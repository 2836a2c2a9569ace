package adopt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Types whose text, with the settings of the trigger function, is the value and nothing else.
var plainTypes = []string{"smallint", "integer", "bigint", "numeric", "text", "character varying", "character", "uuid", "date",
	"timestamp without time zone", "timestamp with time zone"}

func orderable(s *Source, name string) error {
	c := s.column(name)
	switch {
	case c == nil:
		return fmt.Errorf("%s has no column %q to order by (it has %s)", s.Name, name, s.columnNames())
	case !slices.Contains(plainTypes, c.Type):
		return fmt.Errorf("column %s is %s, which gives no order in time", name, c.Type)
	}
	return nil
}

// CanBackfill says what is missing for copying the rows that are there.
func (p *Plan) CanBackfill() error {
	s := p.Source
	var faults []error
	if p.OrderBy == "" {
		faults = append(faults, fmt.Errorf("%s has no identity or serial column that tells which row came first: name a column with --order", s.Name))
	} else if !s.column(p.OrderBy).NotNull {
		faults = append(faults, fmt.Errorf("column %s may be null, and such a row has no place in the order: alter table %s alter column %s set not null, or name another with --order",
			p.OrderBy, s.Name, quote(p.OrderBy)))
	}
	if len(s.Key) == 0 {
		faults = append(faults, fmt.Errorf("%s has no primary key, by which old rows are told from new ones", s.Name))
	}
	for _, name := range s.Key {
		c := s.column(name)
		if !slices.Contains(plainTypes, c.Type) {
			faults = append(faults, fmt.Errorf("column %s of the primary key is %s", name, c.Type))
		}
		faults = append(faults, p.bareUse(c))
	}
	if s.Leased > 0 {
		faults = append(faults, fmt.Errorf("a relay of another kind has reserved %d rows of %s (lease_owner): stop it first, or they are published twice", s.Leased, s.Name))
	}
	return errors.Join(faults...)
}

// checkTopic finds what no row can mend: with it every insert would fail.
func (p *Plan) checkTopic(value string) error {
	parts, err := parseValue(value, p.Source)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if part.column {
			continue
		}
		bad := strings.IndexFunc(part.text, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
		})
		switch {
		case bad >= 0:
			return fmt.Errorf("%q holds a character that Kafka does not take in a topic: it is a-z A-Z 0-9 . _ -", part.text)
		case len(part.text) > 249, len(parts) == 1 && (part.text == "" || part.text == "." || part.text == ".."):
			return fmt.Errorf("%q is no topic, which has 1 to 249 characters and is neither one dot nor two", part.text)
		}
	}
	return nil
}

// bareUse notes that an expression has a column as it is. A cast or a comparison of a type that somebody has made is his
// code, and would run with the rights of the outbox's owner, or of whoever runs relay adopt. The error is about a type that
// the table's owner may make anew under the same name.
func (p *Plan) bareUse(c *Column) error {
	if c == nil {
		return nil
	}
	if c.Virtual {
		return errVirtual(c)
	}
	if !p.Source.Trusted && !c.Builtin {
		return fmt.Errorf("column %s has a type that is none of PostgreSQL's own, and %s belongs to %s, who may not do what the owner of schema %s may: "+
			"only a text field can take it", c.Name, p.Source.Name, p.Source.Owner, p.Schema)
	}
	if !slices.Contains(p.bare, c.Name) {
		p.bare = append(p.bare, c.Name)
	}
	return nil
}
