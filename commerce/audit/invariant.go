package audit

// Invariant is a promise that the auditor checks.
type Invariant struct {
	// ID names it, for ever.
	ID string
	// Description is one sentence.
	Description string
	// Needs is "database" or "archive" if it cannot be checked without.
	Needs string
}

// inv is an invariant by its place in Invariants.
type inv int

const (
	wellFormed inv = iota
	recordKey
	recordPartition
	recordHeaders
	traceCarried
	oneAnswer
	errorAccuses
	errorCodes
	alertOnce
	verdictOnce
	verdictRepeats
	verdictConsistent
	verdictOrder
	paymentOnce
	paymentRepeats
	confirmationOnce
	confirmationRepeats
	invoiceOnce
	invoiceRepeats
	invoiceTax
	invoiceNumbers
	invoiceSequence
	invoiceDates
	notificationOnce
	notificationRepeats
	movementsFit
	stockLedger
	stockNegative
	supplyOnce
	databaseOrder
	databaseTimeline
	databaseStock
	archiveOnce
	archiveRepeats
	outboxSent
	groupLag
	invariants // how many there are
)

// Invariants are all that is checked, in the order of the report.
var Invariants = [invariants]Invariant{
	wellFormed:          {ID: "record-well-formed", Description: "A record of ours is strict JSON with its fields written as agreed, and its timestamp is the record's."},
	recordKey:           {ID: "record-key", Description: "A record of ours has the key that its topic asks for."},
	recordPartition:     {ID: "record-partition", Description: "A record of ours stands in the partition that murmur2 gives its key."},
	recordHeaders:       {ID: "record-headers", Description: "A record about an order has one header comptoir-order, its id; an error has the headers of the record it accuses."},
	traceCarried:        {ID: "trace-carried", Description: "Every record of an order belongs to the trace of the order's record, if that has one."},
	oneAnswer:           {ID: "order-has-one-answer", Description: "A record of commandes.ecommerce is exactly one of: rejected, the one its order's verdict is about, a redelivery, in conflict."},
	errorAccuses:        {ID: "error-accuses-record", Description: "An error names an existing record, and carries its order, key and value as they are."},
	errorCodes:          {ID: "error-codes", Description: "A rejection lists every error of the record it accuses and no other."},
	alertOnce:           {ID: "alert-once", Description: "An order has an alert at most once per code, and only if it is coherent."},
	verdictOnce:         {ID: "verdict-once", Description: "An order id with a coherent record has exactly one verdict, and no other id has one."},
	verdictRepeats:      {ID: "verdict-repeats-order", Description: "A verdict repeats client, amounts, lines and date of the first record with the order's id."},
	verdictConsistent:   {ID: "verdict-consistent", Description: "A verdict reserves all lines or none, and says why it refuses."},
	verdictOrder:        {ID: "verdict-order-per-client", Description: "The verdicts of a client's orders come in the order of their records."},
	paymentOnce:         {ID: "payment-once", Description: "A valid order has exactly one payment, accepted or refused; a refused order has none."},
	paymentRepeats:      {ID: "payment-repeats-order", Description: "A payment is for the client, amount and currency of its order."},
	confirmationOnce:    {ID: "confirmation-once", Description: "A paid order has exactly one confirmation, no other order has one."},
	confirmationRepeats: {ID: "confirmation-repeats-order", Description: "A confirmation repeats client and amount of its order and the number of its invoice."},
	invoiceOnce:         {ID: "invoice-once", Description: "A paid order has exactly one invoice, no other order has one."},
	invoiceRepeats:      {ID: "invoice-repeats-order", Description: "An invoice repeats client, amount, lines and date of its order."},
	invoiceTax:          {ID: "invoice-tax", Description: "An invoice's tax is exact: total × 100 / (100 + rate), rounded half up, and the rest."},
	invoiceNumbers:      {ID: "invoice-numbers-gapless", Description: "The invoice numbers of a series run from 000001 each year, without gap and without double."},
	invoiceSequence:     {ID: "invoice-order-of-issue", Description: "Invoices stand in their topic in the order of their numbers."},
	invoiceDates:        {ID: "invoice-dates", Description: "An invoice's date is the day of issue, never before the previous one's, and in the year of its number."},
	notificationOnce:    {ID: "notification-once", Description: "An order that was invoiced or refused has exactly one notification, of that kind."},
	notificationRepeats: {ID: "notification-repeats-order", Description: "A notification goes to the order's client, by the channel the order gives, and says what became of it."},
	movementsFit:        {ID: "movements-fit-outcome", Description: "An order moves each product's stock exactly as its outcome asks for."},
	stockLedger:         {ID: "stock-ledger", Description: "Each movement leaves the level that the one before and its quantity make."},
	stockNegative:       {ID: "stock-never-negative", Description: "Neither what is available nor what is reserved is ever below zero."},
	supplyOnce:          {ID: "supply-once", Description: "A valid supply moves the stock once, by its quantity, and nothing else supplies."},
	databaseOrder:       {ID: "database-order", Description: "The order database shows the state, client, reason, alerts and invoice that the topics tell.", Needs: "database"},
	databaseTimeline:    {ID: "database-timeline", Description: "An order's timeline in the database is exactly its records.", Needs: "database"},
	databaseStock:       {ID: "database-stock", Description: "The database's stock levels are those after the last movements.", Needs: "database"},
	archiveOnce:         {ID: "archive-once", Description: "The archive has exactly one row for each invoice, and no other.", Needs: "archive"},
	archiveRepeats:      {ID: "archive-repeats-invoice", Description: "A row of the archive says what its invoice says.", Needs: "archive"},
	outboxSent:          {ID: "outbox-sent", Description: "No message waits in the outbox for longer than the limit.", Needs: "database"},
	groupLag:            {ID: "group-lag", Description: "No record waits for its consumer group for longer than the limit."},
}

// Known says whether there is an invariant with this id.
func Known(id string) bool {
	for i := range Invariants {
		if Invariants[i].ID == id {
			return true
		}
	}
	return false
}

func invOf(id string) (inv, bool) {
	for i := range Invariants {
		if Invariants[i].ID == id {
			return inv(i), true
		}
	}
	return 0, false
}
