package metrics

import (
	"context"
	"net"
	"slices"
	"sync"
)

// door is a listener that holds a bounded number of connections. When it is
// full a new one is let in by closing the oldest of those that have never had a
// request answered, or, where there is none, the one that has been idle for the
// longest time. So clients that connect and never ask push out each other, and an
// honest scraper keeps its connection.
//
//	accept --> [guests, oldest first] --> handler (busy: never closed by us)
type door struct {
	net.Listener
	most int

	mu     sync.Mutex
	guests []*guest // oldest first; one that was answered goes to the end
}

// guest is a connection that came in through a door.
type guest struct {
	net.Conn
	door  *door
	once  sync.Once
	busy  int  // handlers that run; guarded by door.mu
	known bool // a request of its was answered; guarded by door.mu
}

func newDoor(l net.Listener, most int) *door { return &door{Listener: l, most: most} }

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g := d.admit(c); g != nil {
			return g, nil
		}
		_ = c.Close() // all guests are being served; this one is turned away
	}
}

func (d *door) admit(c net.Conn) *guest {
	d.mu.Lock()
	var out *guest
	if len(d.guests) >= d.most {
		i := d.leaves()
		if i < 0 {
			d.mu.Unlock()
			return nil
		}
		out = d.guests[i]
		d.guests = slices.Delete(d.guests, i, i+1)
	}
	g := &guest{Conn: c, door: d}
	d.guests = append(d.guests, g)
	d.mu.Unlock()
	if out != nil {
		_ = out.Conn.Close() // its reader notices and ends
	}
	return g
}

// leaves picks the guest that makes room; -1: all are being served.
func (d *door) leaves() int {
	idle := -1
	for i, g := range d.guests {
		switch {
		case g.busy > 0:
		case !g.known:
			return i
		case idle < 0:
			idle = i
		}
	}
	return idle
}

// clear closes the guests that are not being served.
func (d *door) clear() {
	d.mu.Lock()
	var out []*guest
	d.guests = slices.DeleteFunc(d.guests, func(g *guest) bool {
		if g.busy == 0 {
			out = append(out, g)
		}
		return g.busy == 0
	})
	d.mu.Unlock()
	for _, g := range out {
		_ = g.Conn.Close() // its reader notices and ends
	}
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.once.Do(func() { g.door.forget(g) })
	return g.Conn.Close()
}

func (d *door) forget(g *guest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.guests, g); i >= 0 {
		d.guests = slices.Delete(d.guests, i, i+1)
	}
}

// serve counts a guest's running requests up or down; one that has none left
// goes last in line.
func (d *door) serve(g *guest, change int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g.busy += change
	g.known = g.known || change < 0
	if i := slices.Index(d.guests, g); i >= 0 && g.busy == 0 {
		d.guests = append(slices.Delete(d.guests, i, i+1), g)
	}
}

type guestKey struct{}

// withGuest is http.Server.ConnContext: it lets a handler find its connection,
// which TLS may have wrapped.
func withGuest(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, guestKey{}, c)
}

// enter marks the request's connection as busy until leave is called.
func enter(ctx context.Context) (leave func()) {
	g, ok := ctx.Value(guestKey{}).(*guest)
	if !ok {
		return func() {}
	}
	g.door.serve(g, +1)
	return func() { g.door.serve(g, -1) }
}
