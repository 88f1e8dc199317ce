package journal

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// A TensorBoard event file is a row of records in TensorFlow's framing
// ("TFRecord"), all numbers little-endian:
//
//	uint64 length | uint32 masked crc32c of the length | data | uint32 masked crc32c of data
//
// The data of a record is an Event message in protocol buffers:
//
//	Event    1 wall_time  double (seconds since 1970)
//	         2 step       int64
//	         3 file_version string, in the first event only: "brain.Event:2"
//	         5 summary    Summary
//	         7 session_log SessionLog
//	Summary  1 value      repeated Value
//	Value    1 tag        string
//	         2 simple_value float
//	SessionLog 1 status   enum: 1 is START, and what other files have of Event.step
//	                      and later does not count any more
//
// Both formats are described by TensorFlow's sources core/lib/io/record_writer,
// core/util/event.proto and core/framework/summary.proto.

const fileVersion = "brain.Event:2"

// scalar is one point of one curve.
type scalar struct {
	tag   string
	value float64
}

// The wire types of protocol buffers that an event uses.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

func key(b []byte, field, wire int) []byte {
	return binary.AppendUvarint(b, uint64(field<<3|wire))
}

func bytesField(b []byte, field int, data []byte) []byte {
	b = key(b, field, wireBytes)
	b = binary.AppendUvarint(b, uint64(len(data)))
	return append(b, data...)
}

func eventStart(wall float64) []byte {
	return binary.LittleEndian.AppendUint64(key(nil, 1, wireFixed64), math.Float64bits(wall))
}

// versionEvent is the data of the first record of a file.
func versionEvent(wall float64) []byte {
	return bytesField(eventStart(wall), 3, []byte(fileVersion))
}

// scalarEvent is the data of a record with the points of one step. Curves hold
// float32, so a value may be rounded.
func scalarEvent(wall float64, step int, points []scalar) []byte {
	var summary []byte
	for _, p := range points {
		value := bytesField(nil, 1, []byte(p.tag))
		value = key(value, 2, wireFixed32)
		value = binary.LittleEndian.AppendUint32(value, math.Float32bits(float32(p.value)))
		summary = bytesField(summary, 1, value)
	}
	event := binary.AppendUvarint(key(eventStart(wall), 2, wireVarint), uint64(step))
	return bytesField(event, 5, summary)
}

// sessionEvent is the data of a record that says that a run goes on with a step.
func sessionEvent(wall float64, step int) []byte {
	event := binary.AppendUvarint(key(eventStart(wall), 2, wireVarint), uint64(step))
	return bytesField(event, 7, binary.AppendUvarint(key(nil, 1, wireVarint), 1))
}

// frame puts data into a record.
func frame(data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, maskedCRC(data))
}

// maskedCRC is the checksum of TFRecord: CRC-32C, rotated right by 15 bits,
// plus a constant, so that a checksum of data with checksums in it stays good.
func maskedCRC(data []byte) uint32 {
	c := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + 0xa282ead8
}

// batchPoints are the curves of a batch: one chart per statistic, in which the
// units lie over each other. What was not measured has no point, but a loss
// that is not finite has: it is what one looks for.
func batchPoints(b Batch) []scalar {
	points := []scalar{{"loss/" + b.Unit, float64(b.Loss)}}
	for _, p := range []scalar{
		{"learning_rate/" + b.Unit, float64(b.LearningRate)},
		{"embedding_std/" + b.Unit, float64(b.EmbeddingStd)},
		{"effective_rank/" + b.Unit, float64(b.EffectiveRank)},
		{"gradient_norm/" + b.Unit, float64(b.GradientNorm)},
		{"images_per_second/" + b.Unit, float64(b.ImagesPerSecond)},
		{"wait_data/" + b.Unit, float64(b.Waits.Data)},
		{"wait_input/" + b.Unit, float64(b.Waits.Input)},
		{"wait_gradient/" + b.Unit, float64(b.Waits.Gradient)},
		{"wait_output/" + b.Unit, float64(b.Waits.Output)},
	} {
		if !math.IsNaN(p.value) {
			points = append(points, p)
		}
	}
	return points
}

func readoutPoints(r Readout) []scalar {
	var points []scalar
	for _, p := range []scalar{
		{"readout_" + r.Readout + "/" + r.Stage, float64(r.Accuracy)},
		{"readout_" + r.Readout + "/" + r.Stage + "_random_encoder", float64(r.Random)},
		{"readout_" + r.Readout + "/raw_pixels", float64(r.Pixels)},
	} {
		if !math.IsNaN(p.value) {
			points = append(points, p)
		}
	}
	return points
}
