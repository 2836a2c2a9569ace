package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLetThrough_OpensOnlyWhatIsTemporaryAndOurs(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", filepath.Join(temporary, "tmp"))
	stranger := &User{Name: "stranger", UID: 54321, GID: 54321}

	inside := filepath.Join(temporary, "tmp", "private", "data")
	if err := os.MkdirAll(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := stranger.LetThrough(inside); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{temporary, filepath.Join(temporary, "tmp"), filepath.Dir(inside)} {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != info.Mode().Perm()|0o001 {
			t.Errorf("%s: %v, %v: the account cannot pass", folder, info.Mode(), err)
		}
	}
	if info, err := os.Stat(inside); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v, %v: opened, although the way ends here", inside, info.Mode(), err)
	}
}

func TestLetThrough_NamesTheFolderThatBarsTheWay(t *testing.T) {
	home, err := os.MkdirTemp("/var/tmp", "outbox-relay-test-")
	if err != nil {
		t.Skipf("no folder that is not temporary: %v", err)
	}
	defer os.RemoveAll(home)
	data := filepath.Join(home, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	err = (&User{Name: "stranger", UID: 54321, GID: 54321}).LetThrough(data)
	if err == nil || !strings.Contains(err.Error(), "chmod o+x "+home) {
		t.Errorf("error %v, want the folder and the cure", err)
	}
	if info, err := os.Stat(home); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s was opened: %v, %v", home, info.Mode(), err)
	}
	own := &User{Name: "own", UID: os.Geteuid(), GID: os.Getegid()}
	if err := own.LetThrough(data); err != nil {
		t.Errorf("the owner may not pass: %v", err)
	}
}
