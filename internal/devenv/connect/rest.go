package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Create makes a connector, or gives one another configuration, and returns when its task runs. Errors carry what the
// task says. A configuration holds passwords: errors do not repeat it.
func (w *Worker) Create(ctx context.Context, name string, config map[string]string) error {
	err := w.call(ctx, http.MethodPut, "/connectors/"+url.PathEscape(name)+"/config", config, nil)
	if err == nil {
		err = w.until(ctx, name, "RUNNING", 1)
	}
	if err != nil {
		return fmt.Errorf("create connector %s: %w", name, err)
	}
	return nil
}

// Halt ends a connector's task and keeps its place. It returns when the task is gone.
func (w *Worker) Halt(ctx context.Context, name string) error {
	err := w.call(ctx, http.MethodPut, "/connectors/"+url.PathEscape(name)+"/stop", nil, nil)
	if err == nil {
		err = w.until(ctx, name, "STOPPED", 0)
	}
	if err != nil {
		return fmt.Errorf("halt connector %s: %w", name, err)
	}
	return nil
}

// Resume ends Halt. It returns when the worker has been told, which is before the task runs.
func (w *Worker) Resume(ctx context.Context, name string) error {
	if err := w.call(ctx, http.MethodPut, "/connectors/"+url.PathEscape(name)+"/resume", nil, nil); err != nil {
		return fmt.Errorf("resume connector %s: %w", name, err)
	}
	return nil
}

// Delete ends a connector. What it has made in PostgreSQL, a slot and a publication, stays.
func (w *Worker) Delete(ctx context.Context, name string) error {
	if err := w.call(ctx, http.MethodDelete, "/connectors/"+url.PathEscape(name), nil, nil); err != nil {
		return fmt.Errorf("delete connector %s: %w", name, err)
	}
	return nil
}

// Failed is an error when a connector or its task has failed, with what it says.
func (w *Worker) Failed(ctx context.Context, name string) error {
	_, err := w.state(ctx, name)
	return err
}

type status struct {
	Connector struct{ State, Trace string }
	Tasks     []struct{ State, Trace string }
}

// state asks for a connector's state. One that has failed is an error.
func (w *Worker) state(ctx context.Context, name string) (s status, err error) {
	if err := w.call(ctx, http.MethodGet, "/connectors/"+url.PathEscape(name)+"/status", nil, &s); err != nil {
		return s, err
	}
	parts := append([]struct{ State, Trace string }{s.Connector}, s.Tasks...)
	for _, part := range parts {
		if part.State == "FAILED" {
			return s, fmt.Errorf("it failed: %s", part.Trace[:min(len(part.Trace), 2000)])
		}
	}
	return s, nil
}

// until waits for a state of a connector and of its tasks, of which there have to be some.
func (w *Worker) until(ctx context.Context, name, wanted string, tasks int) error {
	for {
		s, err := w.state(ctx, name)
		var missing *answer
		switch {
		case err == nil && s.Connector.State == wanted && len(s.Tasks) == tasks && s.tasksAre(wanted):
			return nil
		case err != nil && !errors.As(err, &missing):
			return err
		}
		if err := w.Alive(); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("wait for state %s: %w", wanted, err)
		}
	}
}

func (s status) tasksAre(wanted string) bool {
	for _, task := range s.Tasks {
		if task.State != wanted {
			return false
		}
	}
	return true
}

// call sends a request and decodes the answer. A worker that is sorting out its members is asked again.
func (w *Worker) call(ctx context.Context, method, path string, body, into any) error {
	for {
		err := w.once(ctx, method, path, body, into)
		var refused *answer
		if !errors.As(err, &refused) || refused.status != http.StatusConflict {
			return err
		}
		if pause(ctx) != nil {
			return err
		}
	}
}

func (w *Worker) once(ctx context.Context, method, path string, body, into any) error {
	var text io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
		text = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, w.url+path, text)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the worker's answer: %w", err)
	}
	if response.StatusCode >= 300 {
		return &answer{status: response.StatusCode, text: fmt.Sprintf("%s %s: %s: %s", method, path, response.Status, said)}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(said, into)
}

// answer is an answer of the worker that is an error.
type answer struct {
	status int
	text   string
}

func (a *answer) Error() string { return a.text }
