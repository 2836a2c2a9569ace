package process

import (
	"os"
	"os/exec"
	"strings"
)

// unmountBelow takes away what is mounted inside a folder of ours, so that the folder can be removed. Only Linux has
// the list it reads; elsewhere nothing is mounted there. guard.sh does the same.
func unmountBelow(folder string) {
	text, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], folder+"/") {
			_ = exec.Command("umount", "-l", fields[1]).Run() // then the folder stays, and the next start tries again
		}
	}
}
