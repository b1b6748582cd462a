// Package proxy is a TCP proxy that a test puts between a program and a server,
// to spoil what passes: cut, delayed, held back, half closed. It knows nothing of
// what passes, and must not.
package proxy

import (
	"net"
	"sync"
	"time"
)

// Proxy passes connections on. Its methods may be called at any time, by several
// goroutines.
type Proxy struct {
	// Addr is where it listens, host:port.
	Addr string

	target   string
	listener net.Listener
	wait     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	cut    bool
	held   chan struct{} // closed when what is held back may pass; nil: nothing is
	delay  time.Duration
	pairs  map[*pair]bool
}

// pair is a client's connection and ours to the server.
type pair struct{ client, server *net.TCPConn }

// Listen starts a proxy at an address (port 0 takes a free one) to a target.
func Listen(addr, target string) (*Proxy, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listener: l, pairs: map[*pair]bool{}}
	p.wait.Go(p.accept)
	return p, nil
}

// Close ends it and every connection, and returns when nothing of it is left.
func (p *Proxy) Close() {
	_ = p.listener.Close() // nothing to be done about it
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Heal()
	p.Cut()
	p.wait.Wait()
}

// Cut resets every connection, and refuses new ones until Heal.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.pairs {
		c.reset()
	}
}

// Hold lets nothing pass until Heal, both ways, as a cable that was pulled does:
// nobody is told, and what was sent meanwhile arrives afterwards. New connections
// are taken.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = make(chan struct{})
	}
}

// Delay lets everything arrive so much later, each way, until Heal.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// HalfClose ends one direction of every connection there is: the server is told
// that the client sends no more, or the client that the server does not. What
// comes the other way still passes.
func (p *Proxy) HalfClose(towardsServer bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		if towardsServer {
			_ = c.server.CloseWrite() // it may have ended by itself
			_ = c.client.CloseRead()
		} else {
			_ = c.client.CloseWrite()
			_ = c.server.CloseRead()
		}
	}
}

// Heal undoes Cut, Hold and Delay; connections that were reset stay so.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.delay = false, 0
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// Connections is how many there are now.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.wait.Go(func() { p.pass(client.(*net.TCPConn)) })
	}
}

func (p *Proxy) pass(client *net.TCPConn) {
	p.mu.Lock()
	refused := p.cut || p.closed
	p.mu.Unlock()
	server, err := net.Dial("tcp", p.target)
	if refused || err != nil {
		_ = client.SetLinger(0)
		_ = client.Close()
		if err == nil {
			_ = server.Close()
		}
		return
	}
	c := &pair{client, server.(*net.TCPConn)}
	p.mu.Lock()
	p.pairs[c] = true
	if p.cut || p.closed {
		c.reset() // since we looked
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(c.server, c.client) })
	both.Go(func() { p.copy(c.client, c.server) })
	both.Wait()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
	_ = c.client.Close()
	_ = c.server.Close()
}

// reset ends both connections without a farewell.
func (c *pair) reset() {
	for _, one := range []*net.TCPConn{c.client, c.server} {
		_ = one.SetLinger(0)
		_ = one.Close()
	}
}

// chunk is what was read at once, and when.
type chunk struct {
	bytes []byte
	at    time.Time
}

// copy passes one direction on. Reading goes on while what was read waits, so
// that a delay does not become a limit of the throughput.
func (p *Proxy) copy(to, from *net.TCPConn) {
	chunks := make(chan chunk, 256)
	go func() {
		defer close(chunks)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				chunks <- chunk{buffer[:n], time.Now()}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range chunks {
		p.await(c.at)
		if _, err := to.Write(c.bytes); err != nil {
			_ = from.CloseRead()
			for range chunks {
				continue // the reader must not wait for room
			}
			return
		}
	}
	p.await(time.Now())
	_ = to.CloseWrite()
}

// await returns when what was read at this time may be passed on.
func (p *Proxy) await(read time.Time) {
	for {
		p.mu.Lock()
		held, delay := p.held, p.delay
		p.mu.Unlock()
		if held == nil {
			time.Sleep(time.Until(read.Add(delay)))
			return
		}
		<-held
	}
}
