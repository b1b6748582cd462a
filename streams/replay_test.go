package streams

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/streams/state"
)

// refused is what a full disk does not take.
type refused struct{ writes }

func (refused) Apply() error { return syscall.ENOSPC }

// TestReplayEndsWithWhatIsNotWritten: what follows a part that could not be
// written is not written either, though there is room again: its position would
// stand behind what is missing.
func TestReplayEndsWithWhatIsNotWritten(t *testing.T) {
	b := NewBuilder("app")
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text})
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	db, err := state.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	open := func() *task {
		t.Helper()
		tk, err := newTask(top, 0, db, nil, nil, testLog, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return tk
	}
	re := newReplay(db)
	re.tasks[0] = &replayed{t: open()}
	re.into = refused{re.into}
	put := func(offset int64) error {
		return re.put(&kgo.Record{Offset: offset, Key: []byte("k"), Value: []byte("v")})
	}
	if err := errors.Join(put(0), re.apply(), put(1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := re.apply(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("applied behind what was not written: %v", err)
		}
	}
	if err := re.flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("flushed what was not written: %v", err)
	}
	if at := open().changelog; at != 0 {
		t.Errorf("the local state is up to %d without what was before", at)
	}
}
