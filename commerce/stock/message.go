package stock

import (
	"encoding/binary"
	"math"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire"
	"github.com/comptoir/comptoir/streams"
)

// part is what an order wants of one product, all its lines together.
type part struct {
	Product  event.ID
	Quantity int64
}

// maxPart is the largest quantity of a part.
const maxPart = event.MaxLines * event.MaxQuantity

// request is a message to the identity task, keyed by order id.
type request struct {
	Kind requestKind
	// The rest is for requestOrder alone, but for Parts: who asks, and for what.
	Client    event.ID // whose queue the order stands in
	Partition int32    // of that queue
	Seq       int64    // the order's place in that queue
	Digest    [16]byte
	Parts     []part // each product once; of requestShort, what is reserved all the same
}

type requestKind byte

const (
	requestOrder     requestKind = iota + 1 // an order came
	requestRefused                          // its payment was refused
	requestConfirmed                        // it was confirmed
	requestShort                            // its verdict is a refusal
)

var requestSerde = streams.Serde[request]{Append: appendRequest, Parse: parseRequest}

func appendRequest(b []byte, r request) []byte {
	b = append(b, wireVersion, byte(r.Kind))
	switch r.Kind {
	case requestOrder:
		b = wire.AppendText(b, r.Client)
		b = binary.AppendUvarint(b, uint64(r.Partition))
		b = binary.AppendUvarint(b, uint64(r.Seq))
		b = append(b, r.Digest[:]...)
		b = appendParts(b, r.Parts)
	case requestShort:
		b = appendParts(b, r.Parts)
	}
	return b
}

func appendParts(b []byte, parts []part) []byte {
	b = binary.AppendUvarint(b, uint64(len(parts)))
	for _, p := range parts {
		b = wire.AppendText(b, p.Product)
		b = binary.AppendUvarint(b, uint64(p.Quantity))
	}
	return b
}

// readParts returns nil if there are none.
func readParts(d *wire.Decoder) (parts []part) {
	if n := d.Count(event.MaxLines, 3); n > 0 {
		parts = make([]part, n)
	}
	for i := range parts {
		parts[i].Product = readID(d)
		parts[i].Quantity = d.Uvarint(maxPart)
	}
	return parts
}

func parseRequest(data []byte) (r request, err error) {
	d := decode("request to identity", data)
	switch r.Kind = requestKind(d.Byte()); r.Kind {
	case requestOrder:
		r.Client = readID(d)
		r.Partition = int32(d.Uvarint(math.MaxInt32))
		r.Seq = d.Uvarint(largest)
		d.Fixed(r.Digest[:])
		r.Parts = readParts(d)
	case requestShort:
		r.Parts = readParts(d)
	case requestRefused, requestConfirmed:
	default:
		d.Fail()
	}
	return r, d.End()
}

// command is a message to the product task, keyed by product id.
type command struct {
	Kind commandKind

	Order event.ID // reserve, release, exit
	// Who gets the answer to reserve.
	Client    event.ID
	Partition int32
	Seq       int64
	Part      int   // which of the order's parts this is
	Born      int64 // kept reserve: when identity met the order, ms

	// Quantity is for reserve, release, exit and supply. Release and exit of 0 end
	// what is kept of the order: see reservation.go.
	Quantity int64
	Supply   event.ID // supply
	Name     string   // supply (optional), list
}

type commandKind byte

const (
	commandKeptReserve commandKind = iota + 1 // the first three are of an older version
	commandKeptRelease                        // read as one without a quantity
	commandKeptExit
	commandSupply
	commandList   // into the catalogue
	commandUnlist // out of it
	commandReserve
	commandRelease
	commandExit
)

var commandSerde = streams.Serde[command]{Append: appendCommand, Parse: parseCommand}

func appendCommand(b []byte, c command) []byte {
	b = append(b, wireVersion, byte(c.Kind))
	switch c.Kind {
	case commandReserve, commandKeptReserve:
		b = wire.AppendText(b, c.Order)
		b = wire.AppendText(b, c.Client)
		b = binary.AppendUvarint(b, uint64(c.Partition))
		b = binary.AppendUvarint(b, uint64(c.Seq))
		b = binary.AppendUvarint(b, uint64(c.Part))
		if c.Kind == commandKeptReserve {
			b = binary.AppendUvarint(b, uint64(c.Born))
		}
		b = binary.AppendUvarint(b, uint64(c.Quantity))
	case commandRelease, commandExit:
		b = wire.AppendText(b, c.Order)
		b = binary.AppendUvarint(b, uint64(c.Quantity))
	case commandSupply:
		b = wire.AppendText(b, c.Supply)
		b = binary.AppendUvarint(b, uint64(c.Quantity))
		b = wire.AppendText(b, c.Name)
	case commandList:
		b = wire.AppendText(b, c.Name)
	}
	return b
}

func parseCommand(data []byte) (c command, err error) {
	d := decode("command to a product", data)
	switch c.Kind = commandKind(d.Byte()); c.Kind {
	case commandReserve, commandKeptReserve:
		c.Order = readID(d)
		c.Client = readID(d)
		c.Partition = int32(d.Uvarint(math.MaxInt32))
		c.Seq = d.Uvarint(largest)
		c.Part = int(d.Uvarint(event.MaxLines - 1))
		if c.Kind == commandKeptReserve {
			c.Born = d.Uvarint(largest)
		}
		c.Quantity = d.Uvarint(maxPart)
	case commandRelease, commandExit:
		c.Order = readID(d)
		c.Quantity = d.Uvarint(maxPart)
	case commandKeptRelease, commandKeptExit:
		c.Kind += commandRelease - commandKeptRelease
		c.Order = readID(d)
	case commandSupply:
		c.Supply = readID(d)
		c.Quantity = d.Uvarint(largest)
		c.Name = d.Text(maxName)
	case commandList:
		c.Name = d.Text(maxName)
	case commandUnlist:
	default:
		d.Fail()
	}
	return c, d.End()
}

// answer is a message to the client task, keyed by client id and sent to the
// partition that asked.
type answer struct {
	Kind answerKind
	Seq  int64  // which order of the client
	Part int    // from a product: which of the order's parts
	Name string // from a product: its name, if it has one
}

type answerKind byte

const (
	answerReserved answerKind = iota + 1 // from a product
	answerShort                          // from a product: not enough left
	answerUnknown                        // from a product: there is no such product
	answerAgain                          // from identity: the order was here before
	answerConflict                       // from identity: its id is another order's
)

func (k answerKind) fromProduct() bool { return k <= answerUnknown }

var answerSerde = streams.Serde[answer]{Append: appendAnswer, Parse: parseAnswer}

func appendAnswer(b []byte, a answer) []byte {
	b = append(b, wireVersion, byte(a.Kind))
	b = binary.AppendUvarint(b, uint64(a.Seq))
	if a.Kind.fromProduct() {
		b = binary.AppendUvarint(b, uint64(a.Part))
		b = wire.AppendText(b, a.Name)
	}
	return b
}

func parseAnswer(data []byte) (a answer, err error) {
	d := decode("answer to a client's queue", data)
	a.Kind = answerKind(d.Byte())
	a.Seq = d.Uvarint(largest)
	switch a.Kind {
	case answerReserved, answerShort, answerUnknown:
		a.Part = int(d.Uvarint(event.MaxLines - 1))
		a.Name = d.Text(maxName)
	case answerAgain, answerConflict:
	default:
		d.Fail()
	}
	return a, d.End()
}
