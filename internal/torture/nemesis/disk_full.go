package nemesis

import (
	"context"
	"time"
)

// diskFull takes all the room on PostgreSQL's disk, and gives it back. The server refuses writes, or ends when it finds
// no room for its log; then it is started again.
type diskFull struct {
	ground *Ground
	free   func()
}

// DiskFull is the name of the fault that needs a server with a disk of its own.
const DiskFull = "postgres_disk_full"

func (*diskFull) Name() string { return DiskFull }
func (*diskFull) Kind() Kind   { return Kind{Target: targetPostgres, Disrupts: true} }

func (f *diskFull) Start(context.Context) (Note, error) {
	if f.ground.promoted {
		return Note{}, ErrSpent // the standby has no disk of its own
	}
	var err error
	f.free, err = f.ground.Postgres.FillDisk()
	return Note{}, err
}

func (f *diskFull) Heal(ctx context.Context) error {
	if f.free != nil {
		f.free()
		f.free = nil
	}
	// A server that ended by itself takes no connection; one that recovers does, soon.
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); pause(ctx, 100*time.Millisecond) {
		if f.answers(ctx) {
			return nil
		}
	}
	err := f.ground.Postgres.StartAgain(ctx)
	if err != nil && f.answers(ctx) {
		return nil // it was only slow
	}
	return err
}

func (f *diskFull) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := f.ground.Connect(ctx)
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "select 1")
	return err == nil
}
