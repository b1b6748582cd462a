package differential

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// names replaces what differs by its nature: the first id that appears becomes
// the first word, and so on.
type names struct {
	words  map[string]string
	counts map[string]int
}

func (n *names) word(kind, value string) string {
	if n.words == nil {
		n.words, n.counts = map[string]string{}, map[string]int{}
	}
	w, ok := n.words[kind+value]
	if !ok {
		n.counts[kind]++
		w = fmt.Sprint(kind, n.counts[kind])
		n.words[kind+value] = w
	}
	return w
}

// left out are fields of no meaning for a client, or of none beside another
// broker.
var leftOut = []string{"Version", "UnknownTags", "ThrottleMillis", "ErrorMessage"}

// flatten gives an answer as lines "field.n.field=value".
func (n *names) flatten(v any) []string {
	var lines []string
	n.flat(reflect.ValueOf(v), "", "", &lines)
	return lines
}

func (n *names) flat(v reflect.Value, path, field string, lines *[]string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			*lines = append(*lines, path+"=null")
			return
		}
		n.flat(v.Elem(), path, field, lines)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !slices.Contains(leftOut, f.Name) {
				n.flat(v.Field(i), strings.TrimPrefix(path+"."+f.Name, "."), f.Name, lines)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			n.bytes(v.Bytes(), path, field, v.IsNil(), lines)
			return
		}
		n.list(v, path, field, lines)
	case reflect.Array: // an id
		id := fmt.Sprintf("%x", v.Interface())
		if strings.Trim(id, "0") != "" {
			id = n.word("id-", id)
		}
		*lines = append(*lines, path+"="+id)
	default:
		*lines = append(*lines, path+"="+n.scalar(v, field))
	}
}

// list sorts the elements, since few lists of the protocol have an order.
func (n *names) list(v reflect.Value, path, field string, lines *[]string) {
	if v.Len() == 0 {
		*lines = append(*lines, path+"=[]")
		return
	}
	type element struct {
		key   string
		index int
	}
	var order []element
	for i := range v.Len() {
		var own []string
		// By what is known of it alone: what is new has no order.
		(&names{words: maps.Clone(n.words), counts: maps.Clone(n.counts)}).flat(v.Index(i), "", field, &own)
		order = append(order, element{strings.Join(own, "\n"), i})
	}
	slices.SortStableFunc(order, func(a, b element) int { return strings.Compare(a.key, b.key) })
	for i, e := range order {
		place := strconv.Itoa(i)
		if field == "Configs" { // read better by name
			place = v.Index(e.index).FieldByName("Name").String()
		}
		n.flat(v.Index(e.index), path+"."+place, field, lines)
	}
}

func (n *names) scalar(v reflect.Value, field string) string {
	text := fmt.Sprint(v.Interface())
	switch {
	case field == "ProducerID" && text != "-1":
		return n.word("producer-", text)
	case field == "MemberID" || field == "LeaderID" && v.Kind() == reflect.String:
		if text == "" {
			return ""
		}
		return n.word("member-", text)
	case slices.Contains([]string{"Host", "ClusterID", "ClientHost", "Dir"}, field):
		return "address"
	case field == "Port":
		return "port"
	case slices.Contains([]string{"TotalBytes", "UsableBytes"}, field) && v.Int() > 0:
		return "bytes" // no two times the same
	case slices.Contains([]string{"NodeID", "ControllerID", "Leader", "LeaderID", "CoordinatorID", "Replicas", "ISR"}, field) && text != "-1":
		return "node"
	case v.Kind() == reflect.Int64 && v.Int() > 1e12 && v.Int() < 1e14:
		return "time"
	}
	return text
}

// bytes are record batches, or what clients gave.
func (n *names) bytes(b []byte, path, field string, null bool, lines *[]string) {
	if field != "RecordBatches" {
		text := string(b)
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			text = hex.EncodeToString(b)
		}
		*lines = append(*lines, fmt.Sprintf("%s=%q", path, text))
		return
	}
	if len(b) == 0 {
		// No batches are null or empty, which clients take as the same.
		*lines = append(*lines, path+"=none")
	}
	for i := 0; len(b) > 0; i++ {
		var batch kmsg.RecordBatch
		cut := len(b) < 61 || len(b) < 12+int(binary.BigEndian.Uint32(b[8:]))
		if cut && i > 0 {
			return // the room ended within a batch, which clients pass over
		}
		if cut || batch.ReadFrom(b) != nil {
			*lines = append(*lines, fmt.Sprintf("%s.%d=%d bytes that are no batch", path, i, len(b)))
			return
		}
		size := 12 + int(batch.Length)
		sum := "ok"
		if crc32.Checksum(b[21:size], crc32.MakeTable(crc32.Castagnoli)) != uint32(batch.CRC) {
			sum = "wrong"
		}
		b = b[size:]
		producer := "none"
		if batch.ProducerID >= 0 {
			producer = n.word("producer-", fmt.Sprint(batch.ProducerID))
		}
		*lines = append(*lines, fmt.Sprintf("%s.%d=offset %d+%d attributes %x %s epoch %d sequence %d checksum %s records %s", path, i,
			batch.FirstOffset, batch.LastOffsetDelta, batch.Attributes, producer, batch.ProducerEpoch, batch.FirstSequence, sum, records(batch)))
	}
}

// records gives keys and values of an uncompressed batch.
func records(b kmsg.RecordBatch) string {
	if b.Attributes&7 != 0 {
		return fmt.Sprintf("%d, compressed", b.NumRecords)
	}
	var out []string
	r := kbin.Reader{Src: b.Records}
	for range b.NumRecords {
		one := kbin.Reader{Src: r.Span(int(r.Varint()))}
		one.Int8()
		one.Varlong()
		delta := one.Varint()
		key, value := one.VarintBytes(), one.VarintBytes()
		out = append(out, fmt.Sprintf("%d:%q=%q", delta, key, value))
	}
	return strings.Join(out, ",")
}

// walk calls fn for each field of an answer.
func walk(v any, fn func(name string, v any)) {
	var visit func(reflect.Value)
	visit = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				visit(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.IsExported() {
					fn(f.Name, v.Field(i).Interface())
					visit(v.Field(i))
				}
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Struct {
				for i := range v.Len() {
					visit(v.Index(i))
				}
			}
		}
	}
	visit(reflect.ValueOf(v))
}
