package outbox

import (
	"os"
	"testing"

	"github.com/outboxrelay/relay/outbox/internal/testdb"
)

func TestMain(m *testing.M) { os.Exit(testdb.Main(m)) }
