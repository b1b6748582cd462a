package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxLine is the longest input line in bytes, well above what brokers accept.
const maxLine = 16 << 20

type produceFlags struct {
	key, separator, file, input string
	headers                     []string
}

func (a *app) produceCommand() *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Write records, one per line of standard input or a file",
		Long: `Write one record per line, acknowledged by all replicas, partitioned by key with
Kafka's murmur2. The topic must exist. Empty lines are skipped. --input json reads what consume -o json
writes: key, value, headers and timestamp come out as they went in; a value may
also be given as a JSON object.`,
		Example: `  echo 'CLI-991:{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}' |
    comptoir produce commandes.ecommerce --key-separator :
  comptoir produce essai -k cle -H source=main -f valeurs.txt -o json
  comptoir consume essai --offset start:end -o json | comptoir produce copie --input json`,
		Args:              exactly("TOPIC"),
		ValidArgsFunction: complete(1, a.topicNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			parse, err := f.parser(cmd.Flags().Changed("key"))
			if err != nil {
				return err
			}
			return a.produce(cmd.Context(), args[0], f.file, parse)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.key, "key", "k", "", "key of every record; none means no key")
	fl.StringVar(&f.separator, "key-separator", "", "each line is a key, this separator (\\t is a tab) and a value")
	fl.StringArrayVarP(&f.headers, "header", "H", nil, "a header of every record, name=value; may be repeated")
	fl.StringVarP(&f.file, "file", "f", "", "read lines from this `FILE` instead of standard input")
	fl.StringVar(&f.input, "input", "text", "what a line is: text or json")
	completeWords(cmd, "input", "text", "json")
	a.brokersFlag(cmd)
	a.dataDirFlag(cmd)
	return cmd
}

// parser returns what makes a record of a line.
func (f produceFlags) parser(hasKey bool) (func([]byte) (*kgo.Record, error), error) {
	var headers []kgo.RecordHeader
	for _, h := range f.headers {
		k, v, ok := strings.Cut(h, "=")
		if !ok || k == "" {
			return nil, usagef("--header %q is not name=value", h)
		}
		headers = append(headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
	}
	switch {
	case f.input == "json" && (hasKey || f.separator != ""):
		return nil, usagef("with --input json the key stands in the line: leave out --key and --key-separator")
	case f.input == "json":
		return func(line []byte) (*kgo.Record, error) {
			r, err := parseJSONRecord(line)
			if err != nil {
				return nil, err
			}
			r.Headers = append(r.Headers, headers...)
			return r, nil
		}, nil
	case f.input != "text":
		return nil, usagef("--input %q is neither text nor json", f.input)
	case hasKey && f.separator != "":
		return nil, usagef("give --key or --key-separator, not both")
	}
	separator := strings.NewReplacer(`\\`, `\`, `\t`, "\t").Replace(f.separator)
	return func(line []byte) (*kgo.Record, error) {
		r := &kgo.Record{Value: line, Headers: headers}
		if hasKey {
			r.Key = []byte(f.key)
		}
		if separator != "" {
			k, v, ok := bytes.Cut(line, []byte(separator))
			if !ok {
				return nil, fmt.Errorf("no key separator %q", separator)
			}
			r.Key, r.Value = k, v
		}
		return r, nil
	}, nil
}

// produced is what -o json tells of each record.
type produced struct {
	Topic     string      `json:"topic"`
	Partition int32       `json:"partition"`
	Offset    int64       `json:"offset"`
	Timestamp *recordTime `json:"timestamp"`
}

func (a *app) produce(ctx context.Context, topic, file string, parse func([]byte) (*kgo.Record, error)) error {
	in := a.in
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return notFoundf("input: %w", err)
		}
		defer f.Close()
		in = f
	}
	cl, err := a.kafka(ctx, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(ctx, topic)
	if err != nil {
		return fmt.Errorf("topic %q: %w", topic, err)
	}
	if err := topics[topic].Err; errors.Is(err, kerr.UnknownTopicOrPartition) {
		return unknownTopic(topic)
	} else if err != nil {
		return failuref("topic %q: %w", topic, err)
	}

	var (
		mu      sync.Mutex
		done    int
		failed  []error
		outErr  error
		lineErr error
	)
	acked := func(line int) func(*kgo.Record, error) {
		return func(r *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, failuref("line %d: %w", line, err))
				return
			}
			done++
			if a.output == "table" || outErr != nil {
				return
			}
			ts := recordTime(r.Timestamp.UnixMilli())
			if a.output == "yaml" {
				_, outErr = io.WriteString(a.out, "---\n")
			}
			if outErr == nil {
				outErr = a.encode(a.out, produced{r.Topic, r.Partition, r.Offset, &ts})
			}
		}
	}
	lines := newLineReader(in)
	for lineErr == nil && ctx.Err() == nil {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			lineErr = fmt.Errorf("line %d: %w", lines.n, err)
			break
		}
		if len(line) == 0 {
			continue // a last line too many, not a record without value
		}
		r, err := parse(line)
		if err != nil {
			lineErr = fmt.Errorf("line %d: %w", lines.n, err)
			break
		}
		r.Topic = topic
		cl.Produce(ctx, r, acked(lines.n))
	}
	// What was sent is waited for, also after a bad line.
	flushErr := cl.Flush(context.WithoutCancel(ctx))
	mu.Lock()
	defer mu.Unlock()
	fmt.Fprintf(a.err, "%s written to %s\n", plural(done, "record"), topic)
	if err := errors.Join(flushErr, outErr); err != nil {
		return err
	}
	if lineErr != nil {
		failed = append(failed, failuref("%w: stopped there", lineErr))
	}
	const shown = 10
	if more := len(failed) - shown; more > 0 {
		failed = append(failed[:shown:shown], failuref("and %d more", more))
	}
	return outcome(done+len(failed), failed)
}

// lineReader reads lines of any length up to maxLine, without their ends.
type lineReader struct {
	s *bufio.Scanner
	n int // of the line last read, from 1
}

func newLineReader(r io.Reader) *lineReader {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	return &lineReader{s: s}
}

func (l *lineReader) next() ([]byte, error) {
	l.n++
	if !l.s.Scan() {
		switch err := l.s.Err(); {
		case errors.Is(err, bufio.ErrTooLong):
			return nil, fmt.Errorf("longer than %d bytes", maxLine)
		case err != nil:
			return nil, err
		}
		return nil, io.EOF
	}
	return bytes.Clone(l.s.Bytes()), nil
}
