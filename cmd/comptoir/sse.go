package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxEvent is the longest server-sent event that is read: a record of 1 MiB in
// base64 has room in it.
const maxEvent = 4 << 20

// errEventTooLong says that a stream is none of ours.
var errEventTooLong = errors.New("event longer than 4 MiB")

// serverEvent is a server-sent event. ID is that of the last event that had
// one, which a client sends as Last-Event-ID to go on there.
type serverEvent struct {
	name, id string
	data     []byte
}

// eventReader reads a text/event-stream. Lines end with LF or CRLF; a CR alone,
// which the format allows as well, is part of its line. The field retry is not
// looked at: when we come back is our choice.
type eventReader struct {
	r  *bufio.Reader
	id string
}

func newEventReader(r io.Reader) *eventReader {
	return &eventReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next event that has a name or data. What the stream breaks
// off in the middle of is no event: the error is io.EOF or the reader's.
func (e *eventReader) next() (serverEvent, error) {
	var ev serverEvent
	size, some := 0, false
	for {
		line, err := e.line(maxEvent - size)
		if err != nil {
			return serverEvent{}, err
		}
		if len(line) == 0 {
			if some {
				ev.id, ev.data = e.id, bytes.TrimSuffix(ev.data, []byte("\n"))
				return ev, nil
			}
			size = 0
			continue
		}
		size += len(line)
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			ev.name, some = string(value), true
		case "data":
			ev.data, some = append(append(ev.data, value...), '\n'), true
		case "id":
			if !bytes.ContainsRune(value, 0) {
				e.id = string(value)
			}
		}
	}
}

// line reads a line without its end.
func (e *eventReader) line(limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := e.r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, errEventTooLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if err == io.EOF {
				return nil, err
			}
			return nil, fmt.Errorf("read events: %w", err)
		}
	}
}
