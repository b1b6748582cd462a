package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// toBroker is the endpoint type of a broker; the other is a controller's, of
// which there is none to connect to.
const (
	toBroker     = 1
	toController = 2
)

func (m *Machine) describeCluster(r *Request, req *kmsg.DescribeClusterRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.EndpointType = toBroker
	resp.ControllerID = -1
	resp.ClusterAuthorizedOperations = notAsked
	if req.Version >= 1 && req.EndpointType != toBroker {
		resp.ErrorCode, resp.ErrorMessage = kerr.MismatchedEndpointType.Code, text("this is a broker, not a controller")
		if req.EndpointType != toController {
			resp.ErrorCode, resp.ErrorMessage = kerr.UnsupportedEndpointType.Code, text("unknown endpoint type")
		}
		m.durable(r, resp)
		return
	}
	b := kmsg.NewDescribeClusterResponseBroker()
	b.NodeID, b.Host, b.Port = nodeID, m.cfg.Host, m.cfg.Port
	resp.Brokers = append(resp.Brokers, b)
	resp.ClusterID, resp.ControllerID = m.cfg.ClusterID, nodeID
	resp.ClusterAuthorizedOperations = operations(req.IncludeClusterAuthorizedOperations, clusterOperations)
	m.durable(r, resp)
}

// describeLogDirs tells how many bytes partitions take. Partitions that do not
// exist are left out, as Kafka does.
func (m *Machine) describeLogDirs(r *Request, req *kmsg.DescribeLogDirsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = m.cfg.Dir
	dir.TotalBytes, dir.UsableBytes = -1, -1
	if m.cfg.Space != nil {
		dir.TotalBytes, dir.UsableBytes = m.cfg.Space()
	}
	wanted := map[string]map[int32]bool{}
	for _, t := range req.Topics {
		if wanted[t.Topic] == nil {
			wanted[t.Topic] = map[int32]bool{}
		}
		for _, index := range t.Partitions {
			wanted[t.Topic][index] = true
		}
	}
	for _, t := range m.topics.sorted() {
		only, asked := wanted[t.name]
		if req.Topics != nil && !asked {
			continue
		}
		rt := kmsg.NewDescribeLogDirsResponseDirTopic()
		rt.Topic = t.name
		for _, p := range t.partitions {
			if req.Topics != nil && !only[p.index] {
				continue
			}
			rp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			rp.Partition = p.index
			if m.cfg.Size != nil {
				rp.Size = m.cfg.Size(p.id)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(rt.Partitions) > 0 {
			dir.Topics = append(dir.Topics, rt)
		}
	}
	resp.Dirs = append(resp.Dirs, dir)
	m.durable(r, resp)
}

// electLeaders has nothing to elect: the broker leads every partition.
func (m *Machine) electLeaders(r *Request, req *kmsg.ElectLeadersRequest) {
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	unknown := req.ElectionType != 0 && req.ElectionType != 1
	if unknown {
		resp.ErrorCode = kerr.InvalidRequest.Code
	}
	if req.Topics == nil { // all of them: where nothing was needed is left out
		for _, t := range m.topics.sorted() {
			rt := kmsg.NewElectLeadersResponseTopic()
			rt.Topic = t.name
			resp.Topics = append(resp.Topics, rt)
		}
	}
	for _, t := range req.Topics {
		rt := kmsg.NewElectLeadersResponseTopic()
		rt.Topic = t.Topic
		for _, index := range t.Partitions {
			rp := kmsg.NewElectLeadersResponseTopicPartition()
			rp.Partition = index
			_, err := m.partition(t.Topic, index)
			switch {
			case unknown:
				rp.ErrorCode, rp.ErrorMessage = kerr.InvalidRequest.Code, text("unknown election type")
			case err != nil:
				rp.ErrorCode, rp.ErrorMessage = err.Code, text("there is no such partition")
			default:
				rp.ErrorCode, rp.ErrorMessage = kerr.ElectionNotNeeded.Code, text("the partition has its leader")
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	m.durable(r, resp)
}

// alterPartitionAssignments moves nothing: a partition may be asked to be where
// it is.
func (m *Machine) alterPartitionAssignments(r *Request, req *kmsg.AlterPartitionAssignmentsRequest) {
	resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	for _, t := range req.Topics {
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = t.Topic
		for _, asked := range t.Partitions {
			rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			rp.Partition = asked.Partition
			if _, err := m.partition(t.Topic, asked.Partition); err != nil {
				rp.ErrorCode, rp.ErrorMessage = err.Code, text("there is no such partition")
			} else if asked.Replicas == nil { // give up a move
				rp.ErrorCode = kerr.NoReassignmentInProgress.Code
			} else if why := onlyHere(asked.Replicas); why != nil {
				rp.ErrorCode, rp.ErrorMessage = why.err.Code, text(why.why)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	m.durable(r, resp)
}

// listPartitionReassignments: there are none.
func (m *Machine) listPartitionReassignments(r *Request, req *kmsg.ListPartitionReassignmentsRequest) {
	m.durable(r, req.ResponseKind())
}
