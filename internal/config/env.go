package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const envPrefix = "RELAY_"

// These are not configuration: tests of the relay itself plant faults and known-bad variants with them.
const (
	faultSwitch  = "RELAY_FAULT"
	mutantSwitch = "RELAY_MUTANT"
)

// kubernetesService matches what Kubernetes sets in every pod for a Service whose name begins with "relay":
// RELAY_SERVICE_HOST, RELAY_PORT_9187_TCP_ADDR, RELAY_METRICS_SERVICE_PORT_HTTP. Nobody wrote these.
var kubernetesService = regexp.MustCompile(
	`^RELAY_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// EnvName is the environment variable that overrides a key: lease.ttl is RELAY_LEASE_TTL.
func EnvName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// exclusive are pairs of keys of which only one may have a value: a secret, and the file that holds it.
var exclusive = [][2]string{
	{"postgres.url", "postgres.url_file"},
	{"kafka.sasl.password", "kafka.sasl.password_file"},
	{"kafka.sasl.client_secret", "kafka.sasl.client_secret_file"},
	{"console.token", "console.token_file"},
}

// decodeEnv lays the environment ("NAME=value" strings, as os.Environ gives them) over cfg. A variable that is set
// to nothing sets an empty value; it does not mean the default. A variable that has a value also takes the place of what
// the file says of the key that its own excludes.
func decodeEnv(env []string, cfg *Config, r *report) {
	byName := map[string]key{}
	var names []string
	for _, k := range keysOf(cfg) {
		byName[EnvName(k.path)] = k
		names = append(names, EnvName(k.path))
	}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || name == faultSwitch || name == mutantSwitch {
			continue
		}
		k, known := byName[name]
		if !known {
			if !kubernetesService.MatchString(name) {
				r.faults = append(r.faults, Fault{Env: name, Reason: unknownVariable(name, names)})
			}
			continue
		}
		r.forget(k.path)
		r.origins[k.path] = origin{env: name}
		if err := assignText(value, k.field); err != nil {
			r.fault(k.path, "%s", err)
		}
	}
	for _, pair := range exclusive {
		for i, path := range pair {
			other := byName[EnvName(pair[1-i])]
			if r.origins[path].env == "" || byName[EnvName(path)].field.IsZero() || r.origins[other.path].env != "" {
				continue
			}
			r.forget(other.path)
			other.field.SetZero()
		}
	}
}

// forget is for a key whose value in the file does not count any more, nor the elements of its list, nor what was wrong
// with them.
func (r *report) forget(path string) {
	of := func(key string) bool { return key == path || strings.HasPrefix(key, path+"[") }
	maps.DeleteFunc(r.origins, func(key string, _ origin) bool { return of(key) })
	r.faults = slices.DeleteFunc(r.faults, func(f Fault) bool { return f.Env == "" && of(f.Key) })
}

func unknownVariable(name string, names []string) string {
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf("unknown variable; did you mean %s?", near)
	}
	return "unknown variable; every key has one: lease.ttl is RELAY_LEASE_TTL"
}

// assignText sets a value from the text of a variable.
func assignText(text string, target reflect.Value) error {
	if u, ok := target.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch target.Interface().(type) {
	case []string:
		target.Set(reflect.ValueOf(splitList(text)))
		return nil
	case Properties, []CreateTopic:
		return errors.New("a table cannot be set by a variable; write it into the file")
	}
	if target.Kind() == reflect.Bool {
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("true or false is wanted")
		}
		target.SetBool(b)
		return nil
	}
	if target.Kind() == reflect.Int {
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
		if err != nil {
			return errors.New("a whole number is wanted")
		}
		target.SetInt(n)
		return nil
	}
	target.SetString(text)
	return nil
}

// splitList reads a,b,c. Nothing at all is an empty list.
func splitList(text string) []string {
	if strings.TrimSpace(text) == "" {
		return []string{}
	}
	list := strings.Split(text, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}
