package metrics

import (
	"context"
	"net"
	"slices"
	"sync"
)

// door is a listener that holds a bounded number of connections. When it is
// full a new one is let in by closing the one that has waited longest without
// having a request answered. So clients that connect and never ask push out
// each other, and an honest scraper is served at once.
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
	door *door
	busy int // handlers that run; guarded by door.mu
	once sync.Once
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
		i := slices.IndexFunc(d.guests, func(g *guest) bool { return g.busy == 0 })
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
