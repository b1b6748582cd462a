package connect

import (
	"context"
	"net/http"
)

func (w *Worker) getPlugins(context.Context, *http.Request) (answer, error) {
	type plugin struct {
		Class   string `json:"class"`
		Type    string `json:"type"`
		Version string `json:"version"`
	}
	out := []plugin{}
	for i := range w.cfg.Plugins {
		out = append(out, plugin{w.cfg.Plugins[i].Class, "sink", w.cfg.Plugins[i].Version})
	}
	return ok(out)
}

// definition is an option as the REST API describes it.
type definition struct {
	Name          string     `json:"name"`
	Type          Type       `json:"type"`
	Required      bool       `json:"required"`
	Default       *string    `json:"default_value"`
	Importance    Importance `json:"importance"`
	Documentation string     `json:"documentation"`
	Group         string     `json:"group"`
	Order         int        `json:"order_in_group"`
	Width         string     `json:"width"`
	DisplayName   string     `json:"display_name"`
	Dependents    []string   `json:"dependents"`
}

func definitions(options []Option) []definition {
	order := make(map[string]int)
	out := make([]definition, len(options))
	for i := range options {
		o := &options[i]
		order[o.Group]++
		out[i] = definition{Name: o.Name, Type: o.Type, Required: o.Required, Importance: o.Importance, Documentation: o.Doc,
			Group: o.Group, Order: order[o.Group], Width: "MEDIUM", DisplayName: o.Name, Dependents: []string{}}
		if !o.Required && o.Default != "" {
			out[i].Default = &o.Default
		}
	}
	return out
}

func (w *Worker) getPluginConfig(_ context.Context, r *http.Request) (answer, error) {
	p, err := w.plugin(r.PathValue("class"))
	if err != nil {
		return answer{}, notFound(err.Error())
	}
	return ok(definitions(append(commonOptions(), p.Options...)))
}

func (w *Worker) validatePlugin(_ context.Context, r *http.Request) (answer, error) {
	var body configMap
	if err := read(r, &body, wantConfig); err != nil {
		return answer{}, err
	}
	config := body.strings()
	class := r.PathValue("class")
	p, err := w.plugin(class)
	if err != nil {
		return answer{}, notFound(err.Error())
	}
	if config["connector.class"] == "" {
		config["connector.class"] = class
	}
	if given, err := w.plugin(config["connector.class"]); err != nil || given != p {
		return answer{}, badRequest("Included connector type %s does not match request type %s", config["connector.class"], class)
	}
	_, options, errs, err := w.validate(config)
	if err != nil {
		return answer{}, badRequest("%v", err)
	}
	byName := make(map[string][]string)
	for _, e := range errs {
		byName[e.Name] = append(byName[e.Name], e.Message)
	}
	type value struct {
		Name        string   `json:"name"`
		Value       *string  `json:"value"`
		Recommended []string `json:"recommended_values"`
		Errors      []string `json:"errors"`
		Visible     bool     `json:"visible"`
	}
	type configInfo struct {
		Definition definition `json:"definition"`
		Value      value      `json:"value"`
	}
	values := NewValues(options, config)
	groups, configs := []string{}, []configInfo{}
	for i, d := range definitions(options) {
		if !contains(groups, d.Group) {
			groups = append(groups, d.Group)
		}
		v := value{Name: d.Name, Recommended: append([]string{}, options[i].Allowed...), Errors: append([]string{}, byName[d.Name]...), Visible: true}
		if text := values.String(d.Name); text != "" {
			v.Value = &text
		}
		configs = append(configs, configInfo{d, v})
	}
	return answer{http.StatusOK, struct {
		Name   string       `json:"name"`
		Errors int          `json:"error_count"`
		Groups []string     `json:"groups"`
		Config []configInfo `json:"configs"`
	}{p.Class, len(errs), groups, configs}, ""}, nil
}
