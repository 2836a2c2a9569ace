package franz

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/youmark/pkcs8"
)

func TestDecrypted_TakesAKeyWithAPasswordAndSaysWhyNot(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, err := pkcs8.ConvertPrivateKeyToPKCS8(private, []byte("right"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right, wrong := file("right", "right\n"), file("wrong", "wrong")
	old := &pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: plain}
	for name, c := range map[string]struct {
		key      []byte
		password string
		want     string // of the error; "" for none
	}{
		"PKCS #8":             {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: encrypted}), right, ""},
		"without a password":  {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: plain}), right, ""},
		"another password":    {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: encrypted}), wrong, "cannot be decrypted with the password"},
		"as old OpenSSL does": {pem.EncodeToMemory(old), right, "openssl pkcs8 -topk8"},
		"not PEM":             {plain, right, "kafka.tls.key_file: it is not PEM"},
		"no password file":    {nil, filepath.Join(dir, "missing"), "kafka.tls.key_password_file"},
	} {
		got, err := decrypted(c.key, c.password)
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			if block, _ := pem.Decode(got); block == nil || string(block.Bytes) != string(plain) {
				t.Errorf("%s: another key came out", name)
			}
		}
	}
}
