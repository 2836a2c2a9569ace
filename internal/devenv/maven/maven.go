package maven

import (
	"context"
	"crypto/sha256"
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

// ErrNotInstalled says that Java or Maven is missing.
var ErrNotInstalled = errors.New("not on this machine: run `make setup`, or install it " +
	"(Debian: apt-get install default-jre-headless maven, macOS: brew install openjdk@17 maven)")

// Bundle is the artifacts of one program.
type Bundle struct {
	Name   string                    // of the cache folder
	Title  string                    // for people
	MB     int                       // what the first call downloads, about
	Pom    []byte                    // pom.xml; its runtime dependencies are the bundle
	Unpack func(folder string) error // does the rest before the folder gets its name; nil: nothing is left to do
}

// Folder returns the folder with the bundle's files. The first call on a machine downloads them and says so to
// progress (nil: nobody); later ones only look. Safe from many processes at once: one downloads, the others wait,
// bounded by ctx. errors.Is finds ErrNotInstalled.
func (b Bundle) Folder(ctx context.Context, progress io.Writer) (string, error) {
	folder, err := b.path()
	if err != nil {
		return "", fmt.Errorf("find a cache folder: %w", err)
	}
	if b.Present() {
		return folder, nil
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	unlock, err := lockFile(ctx, folder+".lock")
	if err != nil {
		return "", fmt.Errorf("wait for another download of %s: %w", b.Title, err)
	}
	defer unlock()
	if b.Present() {
		return folder, nil
	}
	if progress != nil {
		fmt.Fprintf(progress, "downloading %s with Maven (%d MB, once)\n", b.Title, b.MB)
	}
	half := folder + ".new"
	if err := os.RemoveAll(half); err != nil {
		return "", fmt.Errorf("remove an unfinished download: %w", err)
	}
	if err := b.download(ctx, half); err != nil {
		return "", fmt.Errorf("download %s: %w", b.Title, err)
	}
	if err := os.Rename(half, folder); err != nil {
		return "", fmt.Errorf("name the download: %w", err)
	}
	return folder, nil
}

// Present says whether the bundle was downloaded before.
func (b Bundle) Present() bool {
	folder, err := b.path()
	if err != nil {
		return false
	}
	// The name appears by a rename when all is there, so a look is enough.
	_, err = os.Stat(folder)
	return err == nil
}

func (b Bundle) path() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		// An account without a home, as services have.
		base = filepath.Join(os.TempDir(), fmt.Sprintf("cache-%d", os.Getuid()))
	}
	hash := sha256.Sum256(b.Pom)
	return filepath.Abs(filepath.Join(base, "outbox-relay", b.Name+"-"+hex.EncodeToString(hash[:6])))
}

func (b Bundle) download(ctx context.Context, into string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("maven (mvn): %w", ErrNotInstalled)
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	file := filepath.Join(into, "pom.xml")
	if err := os.WriteFile(file, b.Pom, 0o644); err != nil {
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
	if b.Unpack == nil {
		return nil
	}
	return b.Unpack(into)
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

// Java finds a Java to run programs with. It prefers JAVA_HOME and Homebrew's places to PATH: macOS has a java on PATH
// that only says that there is none. errors.Is finds ErrNotInstalled.
func Java() (string, error) {
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
