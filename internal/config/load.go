package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// defaultFiles are looked for in this order when no file is named. None of them has to exist.
var defaultFiles = [...]string{"./relay.toml", "/etc/relay/relay.toml"}

// maxFileSize bounds what is read: a configuration has a few kilobytes, so a larger file is another one.
const maxFileSize = 1 << 20

// Option changes what [Load] asks for.
type Option func(*options)

type options struct {
	postgresOptional bool
	ask              func(cfg *Config, sound bool) []Fault
}

// PostgresOptional is for commands that do not speak to the database: they do not ask for its place.
func PostgresOptional(o *options) { o.postgresOptional = true }

// AskClient has ask look at kafka.properties as well: it knows the Kafka clients, which know more of them than this
// package does. sound says that nothing is wrong so far with what a client is made of. Of the faults that it gives, key
// and reason count.
func AskClient(ask func(cfg *Config, sound bool) []Fault) Option {
	return func(o *options) { o.ask = ask }
}

// Load reads the file at path, or the first of ./relay.toml and /etc/relay/relay.toml when path is "" (and none of
// them has to exist), lays env over it ("NAME=value" strings, as os.Environ gives them) and checks all values.
//
// The error is a [Faults] with everything that is wrong. The Config is never nil: with an error it holds what could
// be read, which is good enough to set up a log and no more.
func Load(path string, env []string, opts ...Option) (*Config, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	cfg := Default()
	r := &report{origins: map[string]origin{}}
	document, file, err := readFile(path)
	r.file = file
	readable := err == nil
	if err != nil {
		r.faults = append(r.faults, Fault{File: file, Reason: err.Error()})
	} else {
		readable = decodeFile(document, cfg, r)
	}
	decodeEnv(env, cfg, r)
	cfg.Kafka.Brokers = withPorts(cfg.Kafka.Brokers)
	// Of a file that cannot be read every key would look unset, and faults would be reported that are none.
	if readable {
		validate(cfg, env, o, r)
		askClient(cfg, o, r)
	}
	sortFaults(r.faults)
	sortFaults(r.warnings)
	cfg.file, cfg.origins, cfg.warnings = file, r.origins, r.warnings
	if len(r.faults) > 0 {
		return cfg, Faults(r.faults)
	}
	return cfg, nil
}

func readFile(path string) (document []byte, file string, err error) {
	if path != "" {
		document, err = readLimited(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("there is no such file")
		}
		return document, path, err
	}
	for _, candidate := range defaultFiles {
		document, err = readLimited(candidate)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return document, strings.TrimPrefix(candidate, "./"), err
		}
	}
	return nil, "", nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	document, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(document) > maxFileSize {
		return nil, fmt.Errorf("is larger than %s; this is not a configuration", Size(maxFileSize))
	}
	return document, nil
}

// withoutPath keeps the reason of a file error; the place is said by the fault.
func withoutPath(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}
