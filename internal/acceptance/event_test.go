//go:build linux

package acceptance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"

	"github.com/outboxrelay/relay/outbox"
)

// letters make payloads that a careless hand changes: escapes that jsonb refuses or rewrites, spaces, other alphabets.
var letters = []string{
	`a`, `b`, `c`, `0`, `  `, `\u0000`, `\ud800`, `\"`, `\\`, `\/`, `é`, `ž`, `漢`, `🙂`, `<`, `&`, `\n`, `\u2028`,
}

// seal makes the payload of a key's n-th event: JSON, or in one of eight the same with bytes around it that are not
// text. Both carry a checksum of all that is before it.
func seal(random *rand.Rand, key string, n int, ghost bool) outbox.Payload {
	b := make([]byte, 0, 400)
	raw := random.IntN(8) == 0
	if raw {
		b = append(b, 0, 0xff)
	}
	b = fmt.Appendf(b, `{"key":"%s", "n":%d,"ghost" :%v,"text":"`, key, n, ghost)
	for range random.IntN(120) {
		b = append(b, letters[random.IntN(len(letters))]...)
	}
	b = append(b, '"')
	if raw {
		return outbox.Binary(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)))
	}
	return outbox.RawJSON(sealed(b))
}

// sealed adds the checksum to the text of an open JSON object, and closes it.
func sealed(text []byte) []byte {
	return fmt.Appendf(text, `,"crc":"%08x" }`, crc32.ChecksumIEEE(text))
}

var errBroken = errors.New("the checksum is not that of the bytes")

// unseal checks the bytes of a value, and says whose they are.
func unseal(value []byte) (key string, n int, ghost bool, err error) {
	var body []byte
	var want uint64
	if len(value) > 6 && value[0] == 0 {
		body, want = value[:len(value)-4], uint64(binary.BigEndian.Uint32(value[len(value)-4:]))
	} else {
		i := bytes.LastIndex(value, []byte(`,"crc":"`))
		if i < 0 || len(value) != i+8+8+3 || string(value[i+16:]) != `" }` {
			return "", 0, false, errBroken
		}
		if want, err = strconv.ParseUint(string(value[i+8:i+16]), 16, 32); err != nil {
			return "", 0, false, errBroken
		}
		body = value[:i]
	}
	if uint64(crc32.ChecksumIEEE(body)) != want {
		return "", 0, false, errBroken
	}
	_, rest, _ := bytes.Cut(body, []byte(`{"key":"`))
	name, rest, _ := bytes.Cut(rest, []byte(`", "n":`))
	number, rest, _ := bytes.Cut(rest, []byte(`,"ghost" :`))
	n, err = strconv.Atoi(string(number))
	return string(name), n, bytes.HasPrefix(rest, []byte("true")), err
}
