package franz

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestTokens_ReadHowLongOneLasts(t *testing.T) {
	for body, lasts := range map[string]time.Duration{
		`{"access_token": "t", "expires_in": 100}`:   80 * time.Second,
		`{"access_token": "t", "expires_in": "100"}`: 80 * time.Second,
		`{"access_token": "t", "expires_in": 99.5}`:  79*time.Second + 600*time.Millisecond,
		`{"access_token": "t"}`:                      0,
	} {
		f := &tokens{}
		token, err := f.read(&http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))})
		if left := time.Until(f.until); err != nil || token != "t" || left > lasts || left < lasts-5*time.Second {
			t.Errorf("%s: %q for %v, %v", body, token, left, err)
		}
	}
}
