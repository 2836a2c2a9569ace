package kafka

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed pom.xml
var pom []byte

// ErrNotInstalled says that Java or Maven is missing.
var ErrNotInstalled = errors.New("not on this machine: run `make setup`, or install it " +
	"(Debian: apt-get install default-jre-headless maven, macOS: brew install openjdk@17 maven)")

// Jars returns the folder of Kafka's jars. The first call on a machine downloads about 54 MB with Maven and says so
// to progress (nil: nobody); later ones only look. Safe from many processes at once: one downloads, the others wait,
// bounded by ctx. errors.Is finds ErrNotInstalled.
func Jars(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", fmt.Errorf("find a cache folder: %w", err)
	}
	hash := sha256.Sum256(pom)
	jars := filepath.Join(cache, "kafka-"+hex.EncodeToString(hash[:6]))
	// The name appears by a rename when all is there, so a look is enough.
	if _, err := os.Stat(jars); err == nil {
		return jars, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	unlock, err := lockFile(ctx, jars+".lock")
	if err != nil {
		return "", fmt.Errorf("wait for another download of Kafka: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(jars); err == nil {
		return jars, nil
	}
	if progress != nil {
		fmt.Fprintln(progress, "downloading Apache Kafka with Maven (54 MB, once)")
	}
	half := jars + ".new"
	if err := os.RemoveAll(half); err != nil {
		return "", fmt.Errorf("remove an unfinished download: %w", err)
	}
	if err := download(ctx, half); err != nil {
		return "", fmt.Errorf("download Apache Kafka: %w", err)
	}
	if err := os.Rename(half, jars); err != nil {
		return "", fmt.Errorf("name the download: %w", err)
	}
	return jars, nil
}

func cacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		// An account without a home, as services have.
		base = filepath.Join(os.TempDir(), fmt.Sprintf("cache-%d", os.Getuid()))
	}
	return filepath.Abs(filepath.Join(base, "outbox-relay"))
}

// lockFile waits for a lock that the system gives back when its holder dies.
func lockFile(ctx context.Context, path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func download(ctx context.Context, into string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("maven (mvn): %w", ErrNotInstalled)
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	file := filepath.Join(into, "pom.xml")
	if err := os.WriteFile(file, pom, 0o644); err != nil {
		return err
	}
	// The plugin by its full name, of the version in pom.xml: the short one is looked up, and when the network is
	// down Maven then says that there is no such plugin.
	cmd := exec.CommandContext(ctx, mvn, "-B", "-q", "-Dstyle.color=never", "-f", file,
		"org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies",
		"-DoutputDirectory="+into, "-DincludeScope=runtime")
	cmd.Dir = into
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn copy-dependencies: %w: %s", err, firstLines(string(out), 3))
	}
	return nil
}

// findJava prefers JAVA_HOME and Homebrew's places to PATH: macOS has a java on PATH that only says that there is
// none.
func findJava() (string, error) {
	patterns := []string{
		"/opt/homebrew/opt/openjdk*/bin/java",
		"/usr/local/opt/openjdk*/bin/java",
	}
	if home := os.Getenv("JAVA_HOME"); home != "" {
		patterns = append([]string{filepath.Join(home, "bin", "java")}, patterns...)
	}
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	if java, err := exec.LookPath("java"); err == nil {
		return java, nil
	}
	return "", fmt.Errorf("java 17 or newer: %w", ErrNotInstalled)
}

// firstLines is where Maven says what is wrong; what follows is advice about itself.
func firstLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[:min(len(lines), n)], "\n\t")
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n\t")
}
