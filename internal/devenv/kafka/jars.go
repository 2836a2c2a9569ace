package kafka

import (
	"context"
	_ "embed"
	"io"
	"strings"

	"github.com/outboxrelay/relay/internal/devenv/maven"
)

//go:embed pom.xml
var pom []byte

// ErrNotInstalled says that Java or Maven is missing.
var ErrNotInstalled = maven.ErrNotInstalled

// Jars returns the folder of Kafka's jars. The first call on a machine downloads about 54 MB with Maven and says so
// to progress (nil: nobody); later ones only look. Safe from many processes at once: one downloads, the others wait,
// bounded by ctx. errors.Is finds ErrNotInstalled.
func Jars(ctx context.Context, progress io.Writer) (string, error) {
	return maven.Bundle{Name: "kafka", Title: "Apache Kafka", MB: 54, Pom: pom}.Folder(ctx, progress)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n\t")
}
