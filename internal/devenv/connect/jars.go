package connect

import (
	"archive/tar"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/outboxrelay/relay/internal/devenv/maven"
)

//go:embed pom.xml
var pom []byte

// plugins is the folder of connectors among the jars.
const plugins = "plugins"

func bundle() maven.Bundle {
	return maven.Bundle{Name: "connect", Title: "Kafka Connect and Debezium", MB: 55, Pom: pom, Unpack: unpack}
}

// Present says whether a worker can start without a download.
func Present() bool { return bundle().Present() }

// Jars returns the folder of the worker's jars; connectors are in its folder plugins. The first call on a machine
// downloads about 55 MB with Maven and says so to progress (nil: nobody). errors.Is finds maven.ErrNotInstalled.
func Jars(ctx context.Context, progress io.Writer) (string, error) {
	return bundle().Folder(ctx, progress)
}

// unpack takes the connector's archive apart.
func unpack(folder string) error {
	archives, err := filepath.Glob(filepath.Join(folder, "debezium-*.tar.gz"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("find Debezium's archive: %d files", len(archives))
	}
	file, err := os.Open(archives[0])
	if err != nil {
		return fmt.Errorf("open Debezium's archive: %w", err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("read Debezium's archive: %w", err)
	}
	root, err := openRoot(filepath.Join(folder, plugins))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for archive := tar.NewReader(packed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return os.Remove(archives[0])
		}
		if err != nil {
			return fmt.Errorf("read Debezium's archive: %w", err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := write(root, header.Name, archive); err != nil {
			return fmt.Errorf("unpack Debezium's archive: %w", err)
		}
	}
}

// openRoot makes a folder that no name in an archive leads out of.
func openRoot(path string) (*os.Root, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of connectors: %w", err)
	}
	return os.OpenRoot(path)
}

func write(root *os.Root, name string, from io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}
