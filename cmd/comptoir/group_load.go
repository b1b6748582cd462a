package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

type groupDetail struct {
	Group      string           `json:"group"`
	State      string           `json:"state"`
	Protocol   string           `json:"protocol"`
	Members    int              `json:"members"`
	Lag        int64            `json:"lag"`
	Partitions []groupPartition `json:"partitions"`
}

type groupPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"`
	Metadata  string `json:"metadata,omitempty"`
	End       *int64 `json:"end"`
	Lag       *int64 `json:"lag"`
	Member    string `json:"member,omitempty"`
	Host      string `json:"host,omitempty"`
	Client    string `json:"client,omitempty"`
}

type topicPartition struct {
	topic     string
	partition int32
}

// groupMembers is what the two group protocols have in common.
type groupMembers struct {
	state, protocol string
	members         int
	owner           map[topicPartition]groupPartition // member, host and client
}

// loadGroups describes groups, sorted. errs has one error for each that could
// not be, which are left out.
func loadGroups(ctx context.Context, adm *kadm.Client, names []string) (out []groupDetail, errs []error, err error) {
	names = slices.Clone(names)
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return nil, nil, nil
	}
	members, errs, err := loadMembers(ctx, adm, names)
	if err != nil {
		return nil, nil, fmt.Errorf("describe groups: %w", err)
	}
	commits := make(map[string]kadm.OffsetResponses)
	topics := make(map[string]bool)
	for _, name := range names {
		m, ok := members[name]
		if !ok {
			continue
		}
		os, err := adm.FetchOffsets(ctx, name)
		if err != nil {
			errs = append(errs, failuref("committed offsets of group %q: %w", name, err))
			delete(members, name)
			continue
		}
		commits[name] = os
		for t := range os {
			topics[t] = true
		}
		for tp := range m.owner {
			topics[tp.topic] = true
		}
	}
	ends := kadm.ListedOffsets{}
	if len(topics) > 0 {
		list := make([]string, 0, len(topics))
		for t := range topics {
			list = append(list, t)
		}
		// Read-uncommitted ends, as Kafka's tools take: an open transaction
		// is lag too.
		ends, err = adm.ListEndOffsets(ctx, list...)
		if err != nil {
			return nil, nil, fmt.Errorf("end offsets: %w", err)
		}
	}
	for _, name := range names {
		if m, ok := members[name]; ok {
			out = append(out, joinGroup(name, m, commits[name], ends))
		}
	}
	return out, errs, nil
}

// loadMembers asks the classic description first and that of KIP-848 for those
// it does not know.
func loadMembers(ctx context.Context, adm *kadm.Client, names []string) (map[string]groupMembers, []error, error) {
	classic, err := adm.DescribeGroups(ctx, names...)
	if err != nil {
		return nil, nil, err
	}
	out := make(map[string]groupMembers)
	var errs []error
	var others []string
	for _, name := range names {
		g, ok := classic[name]
		switch {
		case !ok || errors.Is(g.Err, kerr.GroupIDNotFound) || g.Err == nil && g.State == "Dead":
			others = append(others, name)
			continue
		case g.Err == nil && g.State == "Stable" && len(g.Members) == 0:
			// Brokers differ: a group of the new protocol may also look like
			// this, a state that no classic group has.
			others = append(others, name)
			continue
		case g.Err != nil:
			errs = append(errs, failuref("describe group %q: %w", name, g.Err))
			continue
		}
		m := groupMembers{g.State, g.Protocol, len(g.Members), map[topicPartition]groupPartition{}}
		for _, gm := range g.Members {
			if c, ok := gm.Assigned.AsConsumer(); ok {
				for _, t := range c.Topics {
					for _, p := range t.Partitions {
						m.owner[topicPartition{t.Topic, p}] = groupPartition{Member: gm.MemberID, Host: gm.ClientHost, Client: gm.ClientID}
					}
				}
			}
		}
		out[name] = m
	}
	if len(others) == 0 {
		return out, errs, nil
	}
	modern, err := adm.DescribeConsumerGroups(ctx, others...)
	if err != nil { // a broker before Kafka 4 has no such groups
		modern = nil
	}
	for _, name := range others {
		g, ok := modern[name]
		switch {
		case !ok || errors.Is(g.Err, kerr.GroupIDNotFound):
			errs = append(errs, unknownGroup(name))
			continue
		case g.Err != nil:
			errs = append(errs, failuref("describe group %q: %w", name, g.Err))
			continue
		}
		m := groupMembers{g.State, g.AssignorName, len(g.Members), map[topicPartition]groupPartition{}}
		for _, gm := range g.Members {
			for t, ps := range gm.Assignment {
				if t == "" { // deleted meanwhile: only its id is left
					continue
				}
				for p := range ps {
					m.owner[topicPartition{t, p}] = groupPartition{Member: gm.MemberID, Host: gm.ClientHost, Client: gm.ClientID}
				}
			}
		}
		out[name] = m
	}
	return out, errs, nil
}

func joinGroup(name string, m groupMembers, commits kadm.OffsetResponses, ends kadm.ListedOffsets) groupDetail {
	g := groupDetail{Group: name, State: m.state, Protocol: m.protocol, Members: m.members, Partitions: []groupPartition{}}
	rows := m.owner
	commits.Each(func(o kadm.OffsetResponse) {
		if o.Err != nil || o.At < 0 {
			return
		}
		tp := topicPartition{o.Topic, o.Partition}
		row := rows[tp]
		row.Committed, row.Metadata = &o.At, o.Metadata
		rows[tp] = row
	})
	for tp, row := range rows {
		row.Topic, row.Partition = tp.topic, tp.partition
		row.End = offsetOf(ends, tp.topic, tp.partition)
		if row.Committed != nil && row.End != nil {
			lag := max(0, *row.End-*row.Committed)
			row.Lag = &lag
			g.Lag += lag
		}
		g.Partitions = append(g.Partitions, row)
	}
	slices.SortFunc(g.Partitions, func(x, y groupPartition) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return g
}
