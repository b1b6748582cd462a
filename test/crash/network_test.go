package crash

import (
	"time"

	"github.com/comptoir/comptoir/test/proxy"
	"github.com/comptoir/comptoir/test/testenv"
)

// cable is some of the fleet's connections, and the instance at the end of them
// if it is one alone.
type cable struct {
	proxies []*proxy.Proxy
	of      *instance
}

// networks are what can go wrong between instances and servers, by target.
var networks = map[string]func(f *fleet, a *attempt) cable{
	// One instance and all of Kafka.
	"net-kafka": func(f *fleet, a *attempt) cable {
		i := a.rng.IntN(instances)
		a.note("serve-%d", i+1)
		return cable{f.links[i][:], f.members[i]}
	},
	// All instances and one node of Kafka, which the other nodes still reach.
	"net-broker": func(f *fleet, a *attempt) (c cable) {
		n := a.rng.IntN(testenv.Nodes)
		a.note("broker-%d", n+1)
		for i := range f.links {
			c.proxies = append(c.proxies, f.links[i][n])
		}
		return c
	},
	// One instance and its order database, and the archive of whichever has the
	// connector.
	"net-postgres": func(f *fleet, a *attempt) cable {
		i := a.rng.IntN(instances)
		a.note("serve-%d", i+1)
		return cable{[]*proxy.Proxy{f.databases[i], f.archive}, nil}
	},
}

func (c cable) each(do func(*proxy.Proxy)) {
	for _, p := range c.proxies {
		do(p)
	}
}

// networkFaults are those of connections.
func networkFaults(pick func(*fleet, *attempt) cable) map[string]func(*round, *attempt) {
	// spoiled runs a cell whose cable is spoiled for a while.
	spoiled := func(spoil func(*round, *attempt, cable)) func(*round, *attempt) {
		return func(r *round, a *attempt) {
			l := r.load(a)
			c := pick(r.fleet, a)
			defer c.each((*proxy.Proxy).Heal)
			spoil(r, a, c)
			c.each((*proxy.Proxy).Heal)
			r.verify(a, l)
		}
	}
	return map[string]func(*round, *attempt){
		"cut": spoiled(func(r *round, a *attempt, c cable) {
			lasts := a.between(0, 2*time.Second)
			if a.rng.IntN(2) == 0 {
				lasts = a.asleep()
			}
			a.note("for %.1f s", lasts.Seconds())
			c.each((*proxy.Proxy).Cut)
			r.pass(lasts)
		}),
		"hold": spoiled(func(r *round, a *attempt, c cable) {
			before := 0
			if c.of != nil {
				before = fencings(c.of)
			}
			c.each((*proxy.Proxy).Hold)
			r.pass(a.asleep())
			if c.of == nil {
				// A node that only we cannot reach keeps its partitions and groups,
				// for Kafka sees nothing wrong: who needs them waits.
				return
			}
			r.fleet.goesOn()
			c.each((*proxy.Proxy).Heal)
			r.fenced(a, c.of, before)
		}),
		"delay": spoiled(func(r *round, a *attempt, c cable) {
			each := a.between(50*time.Millisecond, 700*time.Millisecond)
			a.note("%d ms each way", each.Milliseconds())
			c.each(func(p *proxy.Proxy) { p.Delay(each) })
			r.pass(6 * time.Second)
		}),
		"half-close": spoiled(func(r *round, a *attempt, c cable) {
			for range 3 {
				towardsServer := a.rng.IntN(2) == 0
				c.each(func(p *proxy.Proxy) { p.HalfClose(towardsServer) })
				r.pass(a.between(0, 2*time.Second))
			}
		}),
	}
}
