//go:build !amd64

package vector

// Tiers lists the tiers of this processor, slowest first.
func Tiers() []Tier { return []Tier{Portable} }

// Expand1 expands one channel.
func (t Tier) Expand1(a *Expand) { a.one() }

// Expand3 expands three channels.
func (t Tier) Expand3(a *Expand) { a.three() }

// ColumnsNear filters along rows; no index is beyond Near.
func (t Tier) ColumnsNear(a *Columns) { a.run() }

// ColumnsWide filters along rows; no index is beyond Wide.
func (t Tier) ColumnsWide(a *Columns) { a.run() }

// ColumnsFar filters along rows.
func (t Tier) ColumnsFar(a *Columns) { a.run() }

// Filter filters across rows.
func (t Tier) Filter(a *Filter) { a.run() }

// Affine multiplies and adds.
func (t Tier) Affine(a *Affine) { a.run() }

// Sum adds up.
func (t Tier) Sum(a *Sum) { a.run() }

// Luma makes grey.
func (t Tier) Luma(a *Colour) { a.luma() }

// Saturate moves colours away from their grey.
func (t Tier) Saturate(a *Colour) { a.saturate() }

// Hue turns hues.
func (t Tier) Hue(a *Colour) { a.hue() }

// Blur applies a symmetric kernel.
func (t Tier) Blur(a *Blur) { a.run() }

// Write1 writes one channel.
func (t Tier) Write1(a *Write) { a.one() }

// Write3 writes three channels.
func (t Tier) Write3(a *Write) { a.three() }
