package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"
)

// event is what the tests' own decoder reads from a record.
type event struct {
	wall    float64
	step    int64
	version string
	points  []string // "tag=value"
	start   bool     // a run goes on here
}

// decode reads an event file and checks both checksums of every record.
func decode(t *testing.T, data []byte) []event {
	t.Helper()
	var out []event
	for len(data) > 0 {
		if len(data) < 12 {
			t.Fatalf("%d bytes are left, less than a record's head", len(data))
		}
		n := binary.LittleEndian.Uint64(data)
		checkSum(t, data[:8], data[8:12])
		if uint64(len(data)) < 16+n {
			t.Fatalf("a record of %d bytes, %d are left", n, len(data))
		}
		body := data[12 : 12+n]
		checkSum(t, body, data[12+n:16+n])
		out = append(out, decodeEvent(t, body))
		data = data[16+n:]
	}
	return out
}

// checkSum undoes the mask instead of making it: subtract, rotate left.
func checkSum(t *testing.T, data, sum []byte) {
	t.Helper()
	c := binary.LittleEndian.Uint32(sum) - 0xa282ead8
	c = c<<15 | c>>17
	if want := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)); c != want {
		t.Fatalf("checksum %08x, want %08x", c, want)
	}
}

// fields calls f for each field of a message.
func fields(t *testing.T, b []byte, f func(number int, bits uint64, data []byte)) {
	t.Helper()
	for len(b) > 0 {
		k, n := binary.Uvarint(b)
		b = b[n:]
		switch k & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			f(int(k>>3), v, nil)
			b = b[n:]
		case 1:
			f(int(k>>3), binary.LittleEndian.Uint64(b), nil)
			b = b[8:]
		case 2:
			size, n := binary.Uvarint(b)
			f(int(k>>3), 0, b[n:n+int(size)])
			b = b[n+int(size):]
		case 5:
			f(int(k>>3), uint64(binary.LittleEndian.Uint32(b)), nil)
			b = b[4:]
		default:
			t.Fatalf("wire type %d", k&7)
		}
	}
}

func decodeEvent(t *testing.T, b []byte) (e event) {
	t.Helper()
	fields(t, b, func(number int, bits uint64, data []byte) {
		switch number {
		case 1:
			e.wall = math.Float64frombits(bits)
		case 2:
			e.step = int64(bits)
		case 3:
			e.version = string(data)
		case 7:
			if string(data) != "\x08\x01" {
				t.Fatalf("session log % x", data)
			}
			e.start = true
		case 5:
			fields(t, data, func(_ int, _ uint64, value []byte) { e.points = append(e.points, decodeValue(t, value)) })
		default:
			t.Fatalf("field %d of an event", number)
		}
	})
	return e
}

func decodeValue(t *testing.T, b []byte) string {
	t.Helper()
	tag, value := "", float32(0)
	fields(t, b, func(number int, bits uint64, data []byte) {
		if number == 1 {
			tag = string(data)
		} else {
			value = math.Float32frombits(uint32(bits))
		}
	})
	return fmt.Sprintf("%s=%v", tag, value)
}

func TestEvents(t *testing.T) {
	r := create(t, options(t))
	b := batch("low", 300)
	b.Loss = Number(math.NaN())
	r.Batch(b, batch("high", 300))
	r.Readout(Readout{Step: 300, Readout: "knn", Stage: "s4", Accuracy: 0.5, Random: 0.25, Pixels: Number(math.NaN())})
	events := decode(t, []byte(read(t, r, "events.out.tfevents.1700000000.host")))
	if len(events) != 4 {
		t.Fatalf("%d events, want 4", len(events))
	}
	if e := events[0]; e.version != "brain.Event:2" || e.wall != 1_700_000_000.5 || len(e.points) != 0 {
		t.Errorf("the first event is %+v", e)
	}
	want := strings.Fields(`loss/low=NaN learning_rate/low=0.1 embedding_std/low=0.75 gradient_norm/low=1.5
		images_per_second/low=1000 wait_data/low=1 wait_input/low=0 wait_gradient/low=0.25 wait_output/low=0`)
	if e := events[1]; e.step != 300 || e.wall != 1_700_000_000.5 || !slices.Equal(e.points, want) {
		t.Errorf("got %+v\nwant %v", e, want)
	}
	if got := events[2].points[0]; got != "loss/high=4.25" {
		t.Errorf("got %s", got)
	}
	want = []string{"readout_knn/s4=0.5", "readout_knn/s4_random_encoder=0.25"}
	if e := events[3]; !slices.Equal(e.points, want) {
		t.Errorf("got %v, want %v", e.points, want)
	}
}

// TestMaskedCRC: the CRC-32C of "123456789" is the published check value
// e3069283; the mask is worked out by hand.
func TestMaskedCRC(t *testing.T) {
	const crc = 0xe3069283
	var rotated uint32 = (crc >> 15) | (crc&0x7fff)<<17
	if got, want := maskedCRC([]byte("123456789")), rotated+0xa282ead8; got != want {
		t.Errorf("got %08x, want %08x", got, want)
	}
}

func TestHostNeverMakesAPath(t *testing.T) {
	o := options(t)
	o.Host = "a/b\\c:d e"
	if got, want := o.eventsName(o.Now().Unix()), "events.out.tfevents.1700000000.a_b_c_d_e"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFirstBytes: every event file starts with the same twelve bytes, the
// length 24 and its checksum, whoever writes it.
func TestFirstBytes(t *testing.T) {
	got := fmt.Sprintf("% x", frame(versionEvent(0))[:12])
	if want := "18 00 00 00 00 00 00 00 a3 7f 4b 22"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
