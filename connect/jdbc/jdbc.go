// Package jdbc is the JDBC sink connector without Java: it archives topics
// into PostgreSQL and SQLite, each record exactly once.
//
// It owns the mapping from records to rows, the tables it is told to create,
// and the table _connect_offsets, which holds how far each partition is
// written. Rows and offsets are always in one database transaction, and an
// epoch fences a task that was replaced without knowing. The package must not
// commit to Kafka or retry by itself: that is the runtime's.
package jdbc

import (
	"errors"
	"fmt"
	"strings"

	"github.com/comptoir/comptoir/connect"
)

// Class is the Java connector this one stands for.
const Class = "io.confluent.connect.jdbc.JdbcSinkConnector"

// Plugin returns the connector, to be listed in connect.Config.Plugins.
func Plugin() connect.Plugin {
	return connect.Plugin{
		Class:     Class,
		TaskClass: "io.confluent.connect.jdbc.sink.JdbcSinkTask",
		Version:   "comptoir",
		Options:   options(),
		Check:     check,
		NewSink:   newSink,
	}
}

func options() []connect.Option {
	const connection, writes, mapping, ddl = "Connection", "Writes", "Data Mapping", "DDL Support"
	return []connect.Option{
		{Name: "connection.url", Type: connect.TypeString, Required: true, Importance: connect.High, Group: connection,
			Doc:      "jdbc:postgresql://host:port/database?sslmode=… or jdbc:sqlite:/path/to/file.",
			Validate: func(v string) error { _, err := parseURL(v, "", ""); return err }},
		{Name: "connection.user", Type: connect.TypeString, Importance: connect.High, Group: connection, Doc: "Database user."},
		{Name: "connection.password", Type: connect.TypePassword, Importance: connect.High, Group: connection, Doc: "Database password."},
		{Name: "insert.mode", Type: connect.TypeString, Default: "insert", Allowed: []string{"insert", "upsert", "update"}, Importance: connect.High, Group: writes,
			Doc: "insert; upsert by primary key (a field that is absent keeps its column as it is); update of existing rows only (a record without row is refused instead of lost)."},
		{Name: "batch.size", Type: connect.TypeInt, Default: "3000", Min: 1, Importance: connect.Medium, Group: writes,
			Doc: "Most rows of one statement. A transaction holds all that was read at once."},
		{Name: "delete.enabled", Type: connect.TypeBool, Default: "false", Importance: connect.Medium, Group: writes,
			Doc: "Whether a null value deletes the row of its key. Needs pk.mode=record_key."},
		{Name: "table.name.format", Type: connect.TypeString, Default: "${topic}", Importance: connect.Medium, Group: mapping,
			Doc: "Table name; ${topic} stands for the topic. In PostgreSQL what precedes the first dot is the schema; in SQLite dots become underscores."},
		{Name: "pk.mode", Type: connect.TypeString, Default: "none", Allowed: []string{"none", "kafka", "record_key", "record_value"}, Importance: connect.High, Group: mapping,
			Doc: "Where primary keys come from: nowhere, the record's place in Kafka, its key, its value."},
		{Name: "pk.fields", Type: connect.TypeList, Importance: connect.High, Group: mapping,
			Doc: "Primary key columns. kafka: three names, default __connect_topic,__connect_partition,__connect_offset. record_key: one name for a plain key, else fields of the key (default all). record_value: fields of the value."},
		{Name: "fields.whitelist", Type: connect.TypeList, Importance: connect.Medium, Group: mapping,
			Doc: "Fields of the value to write beside the primary key. Empty: all."},
		{Name: "auto.create", Type: connect.TypeBool, Default: "false", Importance: connect.Medium, Group: ddl,
			Doc: "Whether to create a missing table (and schema). Since plain JSON shows an optional field only when it is there, this also adds columns as fields appear."},
		{Name: "auto.evolve", Type: connect.TypeBool, Default: "false", Importance: connect.Medium, Group: ddl,
			Doc: "Whether to add columns for new fields to a table. Columns are never changed or removed."},
	}
}

func check(v connect.Values) []connect.FieldError {
	var errs []connect.FieldError
	wrong := func(name, format string, args ...any) {
		errs = append(errs, connect.FieldError{Name: name, Message: "Invalid value " + v.String(name) + " for configuration " + name + ": " + fmt.Sprintf(format, args...)})
	}
	if _, err := parseURL(v.String("connection.url"), v.String("connection.user"), v.String("connection.password")); err != nil {
		wrong("connection.url", "%v", err)
	}
	mode, fields := v.String("pk.mode"), v.List("pk.fields")
	if v.String("insert.mode") != "insert" && mode == "none" {
		wrong("pk.mode", "insert.mode=%s needs a primary key: set pk.mode to record_key, record_value or kafka", v.String("insert.mode"))
	}
	if v.Bool("delete.enabled") && mode != "record_key" {
		wrong("delete.enabled", "deletes need pk.mode=record_key")
	}
	switch {
	case mode == "kafka" && len(fields) != 0 && len(fields) != 3:
		wrong("pk.fields", "pk.mode=kafka needs three names, or none for the defaults")
	case mode == "record_value" && len(fields) == 0:
		wrong("pk.fields", "pk.mode=record_value needs the names of the fields")
	}
	seen := make(map[string]bool)
	for _, f := range fields {
		if seen[f] {
			wrong("pk.fields", "%s stands there twice", f)
		}
		seen[f] = true
	}
	return errs
}

// settings is the configuration in the form the sink uses.
type settings struct {
	target    target
	mode      string
	batchSize int
	deletes   bool
	format    string
	pkMode    string
	pkFields  []string
	whitelist map[string]bool // nil: all fields
	create    bool
	evolve    bool
}

func newSettings(v connect.Values) (settings, error) {
	t, err := parseURL(v.String("connection.url"), v.String("connection.user"), v.String("connection.password"))
	if err != nil {
		return settings{}, err
	}
	s := settings{
		target: t, mode: v.String("insert.mode"), batchSize: v.Int("batch.size"), deletes: v.Bool("delete.enabled"),
		format: v.String("table.name.format"), pkMode: v.String("pk.mode"), pkFields: v.List("pk.fields"),
		create: v.Bool("auto.create"), evolve: v.Bool("auto.create") || v.Bool("auto.evolve"),
	}
	if s.pkMode == "kafka" && len(s.pkFields) == 0 {
		s.pkFields = []string{"__connect_topic", "__connect_partition", "__connect_offset"}
	}
	if list := v.List("fields.whitelist"); len(list) > 0 {
		s.whitelist = make(map[string]bool)
		for _, f := range list {
			s.whitelist[f] = true
		}
	}
	return s, nil
}

var errURL = errors.New(`connect to PostgreSQL with jdbc:postgresql://host:port/database or to SQLite with jdbc:sqlite:/path/to/file`)

func (s *settings) tableName(topic string) string {
	return strings.ReplaceAll(s.format, "${topic}", topic)
}
