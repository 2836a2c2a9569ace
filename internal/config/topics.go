package config

import "strings"

// Allowed says whether events for this topic are delivered: one of the patterns of topics.allow matches, where *
// stands for any characters, and the topic is not one of Kafka's own (__…).
func (t Topics) Allowed(topic string) bool {
	if strings.HasPrefix(topic, "__") {
		return false
	}
	for _, pattern := range t.Allow {
		if matches(pattern, topic) {
			return true
		}
	}
	return false
}

// Named lists the topics that the configuration calls by their full names: those of allow that have no *, those of
// create, and the dead letter topic when there is one.
func (c *Config) Named() []string {
	seen := map[string]bool{"": true}
	var names []string
	add := func(name string) {
		if !seen[name] && !strings.Contains(name, "*") {
			names = append(names, name)
		}
		seen[name] = true
	}
	for _, name := range c.Topics.Allow {
		add(name)
	}
	for _, topic := range c.Topics.Create {
		add(topic.Name)
	}
	add(c.Parked.DeadLetterTopic)
	return names
}

// matches compares a name with a pattern. The first and the last part are anchored; those in between are taken at
// their first place, which leaves the most room for the rest.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return true
}
