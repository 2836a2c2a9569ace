//go:build !cgo

package sut

import "context"

const haveLibrdkafka = false

func bareLibrdkafka(context.Context, []string, string, Load) error { return errNoCgo }
