package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser is a real Chromium.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a browser")
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("there is no Chromium; make setup brings it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-dev-shm-usage", true))
	allocated, release := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(release)
	ctx, end := chromedp.NewContext(allocated)
	t.Cleanup(end)
	ctx, cancel := context.WithTimeout(ctx, 80*time.Second)
	t.Cleanup(cancel)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) })
	return ctx
}

// picture keeps what the page looks like, where SCREENSHOTS says; else it only makes sure that there is a picture.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil || len(png) < 5000 {
		t.Errorf("picture %s: %d bytes, %v", name, len(png), err)
	}
	if folder := os.Getenv("SCREENSHOTS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// A person works with the page by the keyboard: looks, unlocks, edits, retries, drops.
func TestConsole_InARealBrowser(t *testing.T) {
	ctx := browser(t)
	address, conn := consoleDaemon(t, "RELAY_CONSOLE_SHOW_PAYLOADS=true")
	execute(t, conn, `update outbox.parked set key = '<b>4</b>', reason = '<script>document.title = "taken"</script>' where seq = 3`)
	run := func(what string, steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	shows := func(what, script string) {
		t.Helper()
		if _, err := chromedp.Run(ctx, chromedp.Poll[bool](script, chromedp.WithPollingTimeout(20*time.Second),
			chromedp.WithPollingInterval(50*time.Millisecond))); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	text := func(id, want string) {
		t.Helper()
		shows(id, fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, want))
	}

	messages := chromedp.Console(ctx)
	run("open", chromedp.EmulateViewport(1200, 900), chromedp.Navigate("http://"+address+"/"))
	text("leader", "pod-1 leads, epoch 7")
	text("matched", "5 events")
	text("topics", "payments")
	shows("two points of the charts", `document.querySelector("#lag-chart polyline").getAttribute("points").split(" ").length > 1`)
	if title, err := chromedp.Run(ctx, chromedp.Title()); err != nil || title != "relay" {
		t.Errorf("a parked event ran a script: the title is %q, %v", title, err)
	}
	picture(t, ctx, "light")
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}); err != nil {
		t.Fatal(err)
	}
	picture(t, ctx, "dark")
	run("a phone", chromedp.EmulateViewport(390, 800))
	shows("nothing is wider than a phone", "document.documentElement.scrollWidth <= 390")
	picture(t, ctx, "phone")
	run("back", chromedp.EmulateViewport(1200, 900))

	shows("locked", `document.getElementById("drop-all").disabled`)
	run("unlock by the keyboard", chromedp.Focus("#unlock"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#token"),
		chromedp.SendKeys("#token", consoleToken), chromedp.KeyEvent(kb.Enter))
	shows("unlocked", `!document.getElementById("drop-all").disabled`)

	open := func(seq int) {
		t.Helper()
		link := fmt.Sprintf(`button[data-id="%s"]`, parkedID(seq))
		run("open an event", chromedp.WaitVisible(link), chromedp.Focus(link), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#event"))
		text("facts", parkedID(seq))
	}
	open(1)
	text("payload", `{"n": 1}`)
	text("headers", `"a": "b"`)
	picture(t, ctx, "event")
	run("edit", chromedp.SendKeys(`#edit input[name="topic"]`, "payments"+kb.Enter))
	text("outcome", "Saved")
	run("close", chromedp.KeyEvent(kb.Escape), chromedp.WaitNotVisible("#event"))
	if got := query(t, conn, `select concat(topic, ' ', state, ' ', payload) from outbox.parked where seq = 1`); got != `payments held {"n": 1}` {
		t.Errorf("edited to %s", got)
	}
	execute(t, conn, `update outbox.parked set payload = to_json(repeat('x', 1500000)) where seq = 2`)
	open(2)
	text("payload", "1.4 MiB, too large to show here: relay parked show "+parkedID(2))
	run("drop, and not", chromedp.Focus("#drop"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#ask"))
	text("question", "Drop 1 event? They will never be delivered.")
	run("no", chromedp.KeyEvent(kb.Escape), chromedp.WaitNotVisible("#ask"))
	if got := query(t, conn, `select count(*)::text from outbox.parked where seq = 2`); got != "1" {
		t.Error("an event was dropped without a yes")
	}
	run("drop", chromedp.Focus("#drop"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#ask"), chromedp.Focus("#yes"), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitNotVisible("#event"))
	text("matched", "4 events")
	if got := query(t, conn, `select count(*)::text from outbox.parked where seq = 2`); got != "0" {
		t.Error("the event is still there")
	}

	execute(t, conn, `select setval('outbox.events_seq', 100); update outbox.relays set window_to = null;
		insert into outbox.events (topic, key, payload) select 'orders', '9', to_json(n) from generate_series(1, 3) n`)
	execute(t, conn, `update outbox.relays set window_from = pg_current_snapshot()`)
	run("fill in a replay", chromedp.SendKeys(`#replay input[name="topic"]`, "orders"), chromedp.SendKeys(`#replay input[name="key"]`, "9"),
		chromedp.SendKeys(`#replay input[name="to"]`, "again"), chromedp.SendKeys(`#replay input[name="since"]`, "1h"+kb.Enter), chromedp.WaitVisible("#ask"))
	text("question", "Publish 3 events again?")
	run("yes", chromedp.Focus("#yes"), chromedp.KeyEvent(kb.Enter), chromedp.WaitNotVisible("#ask"))
	text("replay-outcome", "Replay 1 has begun")
	text("replays", "orders → again")
	shows("it is handed over", `document.querySelector("#replays td:nth-child(2)").textContent === "done"`)
	execute(t, conn, `update outbox.replays set state = 'stopped', after_seq = after_seq - 1`)
	shows("it can be resumed", `document.querySelector("#replays button") !== null`)
	run("resume", chromedp.Focus("#replays button"), chromedp.KeyEvent(kb.Enter))
	text("replay-outcome", "Replay 1 goes on")
	shows("it is done", `document.querySelector("#replays td:nth-child(2)").textContent === "done"`)
	picture(t, ctx, "replays")
	if got := query(t, conn, `select count(*)::text from outbox.parked where state = 'replay' and topic = 'again'`); got == "0" {
		t.Error("nothing was handed over")
	}
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`console.log("done") || true`)); err != nil {
		t.Fatal(err)
	}
	for m, err := range messages {
		if err != nil {
			t.Fatal(err)
		}
		if m.Text == "done" {
			break
		}
		t.Errorf("the browser complains: %s", m)
	}
}
