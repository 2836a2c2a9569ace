// Package certs reads the files of kafka.tls, and says what is wrong with a certificate, a broker's or ours, in words that
// tell what to do. Both clients say the same.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/outboxrelay/relay/publisher"
)

// Trouble is an error of TLS with a broker, of class authentication: asking again will not help.
func Trouble(why string) *publisher.Error {
	return publisher.NewError(publisher.ClassAuthentication, "TLS with the broker does not come about: "+why)
}

// Authorities are those of a PEM file; nil, the system's, for "".
func Authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parsed(text)
}

// Parsed are the authorities of a PEM text.
func Parsed(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

// Refused says why the certificate of a broker (host:port) was not taken; "" where an error is about something else.
func Refused(err error, broker string) string {
	refused, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return ""
	}
	why := fmt.Sprintf("the certificate of %s is refused: %s", broker, refused.Err)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](refused.Err); ok {
		why += "; name in kafka.tls.ca_file the authority that signed it"
	}
	return why
}

// Wanted says that a broker wants a certificate of ours, and there is none.
func Wanted(broker string) string {
	return broker + " asks for a certificate of ours; name it in kafka.tls.cert_file and kafka.tls.key_file"
}

// OutOfDate says that ours, in a PEM file, is not valid now; "" where it is, or there is none. A broker that refuses it
// says no more than that.
func OutOfDate(file string) string {
	if file == "" {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "kafka.tls.cert_file: " + err.Error()
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return ""
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch now := time.Now(); {
	case err != nil:
		return ""
	case now.After(cert.NotAfter):
		return fmt.Sprintf("the certificate in kafka.tls.cert_file expired at %s", cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Sprintf("the certificate in kafka.tls.cert_file is not valid before %s", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return ""
}

// Innermost is the cause of an error alone: what is around it repeats addresses and URLs.
func Innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}
