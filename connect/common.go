package connect

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// commonOptions are the options of every sink connector. Their names and
// defaults are Kafka Connect's, but for key.converter (text) and
// value.converter (JSON without schemas), which stand for the worker's own.
func commonOptions() []Option {
	converterOption := func(name, doc string) Option {
		return Option{Name: name, Type: TypeClass, Importance: Low, Group: "Common", Doc: doc,
			Validate: func(class string) error {
				_, err := newConverter(map[string]string{name: class}, name, nil)
				return err
			}}
	}
	return []Option{
		{Name: "name", Type: TypeString, Required: true, Importance: High, Group: "Common",
			Doc: "Name of the connector, unique in the cluster. Its consumer group is connect-<name>.", Validate: validName},
		{Name: "connector.class", Type: TypeString, Required: true, Importance: High, Group: "Common",
			Doc: "Class of the connector: its full Java name, or the last part of it with or without \"Connector\"."},
		{Name: "tasks.max", Type: TypeInt, Default: "1", Min: 1, Importance: High, Group: "Common",
			Doc: "Number of tasks that each worker runs. A task is one member of the consumer group.",
			Validate: func(v string) error {
				if len(v) > 3 {
					return errors.New("at most 999 tasks")
				}
				return nil
			}},
		{Name: "topics", Type: TypeList, Importance: High, Group: "Common", Doc: "Topics to read, separated by commas."},
		{Name: "topics.regex", Type: TypeString, Importance: High, Group: "Common",
			Doc:      "Regular expression of the topics to read instead of topics. It must match the whole name. Go's syntax: no look-around, no back-references.",
			Validate: func(v string) error { _, err := regexp.Compile(v); return err }},
		converterOption("key.converter", "How keys are decoded where the connector reads them. Defaults to text."),
		converterOption("value.converter", "How values are decoded. Defaults to JSON without schemas."),
		{Name: "key.converter.schemas.enable", Type: TypeBool, Default: "false", Importance: Low, Group: "Common",
			Doc: "Whether JSON keys have the form {\"schema\",\"payload\"}."},
		{Name: "value.converter.schemas.enable", Type: TypeBool, Default: "false", Importance: Low, Group: "Common",
			Doc: "Whether JSON values have the form {\"schema\",\"payload\"}."},
		unsupported("transforms", "Transforms"), unsupported("predicates", "Predicates"),
		{Name: "consumer.override.auto.offset.reset", Type: TypeString, Default: "earliest", Allowed: []string{"earliest", "latest"},
			Importance: Low, Group: "Common", Doc: "Where a new connector begins."},
		{Name: "errors.tolerance", Type: TypeString, Default: "none", Allowed: []string{"none", "all"}, Importance: Medium, Group: "Error Handling",
			Doc: "none: the first record that cannot be handled stops the task as FAILED. all: it is left out, and goes to the dead-letter topic if there is one."},
		{Name: "errors.log.enable", Type: TypeBool, Default: "false", Importance: Medium, Group: "Error Handling",
			Doc: "Whether each record left out is logged (never its content)."},
		{Name: "errors.deadletterqueue.topic.name", Type: TypeString, Importance: Medium, Group: "Error Handling",
			Doc: "Topic that receives the records left out. Created with one partition if missing."},
		{Name: "errors.deadletterqueue.context.headers.enable", Type: TypeBool, Default: "true", Importance: Medium, Group: "Error Handling",
			Doc: "Whether dead letters carry the headers __connect.errors.* (Kafka's default is false: without them nobody knows why)."},
		{Name: "errors.restart.backoff.ms", Type: TypeInt, Default: "0", Importance: Low, Group: "Error Handling",
			Doc: "Restart a FAILED task by itself after this time, doubled each time up to 10 minutes. 0: never. Comptoir's own option."},
	}
}

func unsupported(name, group string) Option {
	return Option{Name: name, Type: TypeList, Importance: Low, Group: group, Doc: "Not available yet: must be empty.",
		Validate: func(string) error { return errors.New("not available in this version; remove it") }}
}

func validName(name string) error {
	if len(name) > 200 {
		return errors.New("longer than 200 bytes")
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' }) {
		return errors.New("contains a control character or a slash")
	}
	return nil
}

// validate judges a whole configuration. The plugin is nil if the class is
// unknown, in which case err says what there is.
func (w *Worker) validate(config map[string]string) (*Plugin, []Option, []FieldError, error) {
	p, err := w.plugin(config["connector.class"])
	if err != nil {
		return nil, nil, nil, err
	}
	options := append(commonOptions(), p.Options...)
	errs := Validate(options, config)
	topics, pattern := config["topics"], config["topics.regex"]
	switch {
	case strings.TrimSpace(topics) == "" && pattern == "":
		errs = append(errs, FieldError{"topics", "Must configure one of topics or topics.regex"})
	case strings.TrimSpace(topics) != "" && pattern != "":
		errs = append(errs, FieldError{"topics", "topics and topics.regex are mutually exclusive options, but both are set."})
	}
	if dlq := config["errors.deadletterqueue.topic.name"]; dlq != "" {
		if values := NewValues(options, config); contains(values.List("topics"), dlq) {
			errs = append(errs, FieldError{"errors.deadletterqueue.topic.name", fmt.Sprintf("The topic %s is also read by the connector: its dead letters would come back for ever.", dlq)})
		}
	}
	if len(errs) == 0 && p.Check != nil {
		errs = p.Check(NewValues(options, config))
	}
	return p, options, errs, nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

func (w *Worker) plugin(class string) (*Plugin, error) {
	class = strings.TrimSpace(class)
	var names []string
	for i := range w.cfg.Plugins {
		p := &w.cfg.Plugins[i]
		if class != "" && p.answersTo(class) {
			return p, nil
		}
		names = append(names, p.Class)
	}
	if class == "" {
		return nil, errors.New("Connector config contains no connector type: set connector.class") //nolint:staticcheck // Kafka Connect's words, shown to users
	}
	return nil, fmt.Errorf("Failed to find any class that implements Connector and which name matches %s, available connectors are: %s", class, strings.Join(names, ", ")) //nolint:staticcheck // as above
}
