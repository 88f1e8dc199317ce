package cpu

import "github.com/locorun/locorun/compiler/op"

// portable is the kernel table of this tier: every op, for both types. Faster
// tiers start from it and replace entries.
func portable() [len(op.Rows)]kernel {
	return [len(op.Rows)]kernel{
		op.Conv:         {conv[float32], conv[float64]},
		op.Norm:         {norm[float32], norm[float64]},
		op.ConvNorm:     {convNorm[float32], convNorm[float64]},
		op.ReLU:         {relu[float32], relu[float64]},
		op.Add:          {add[float32], add[float64]},
		op.PoolMax:      {poolMax[float32], poolMax[float64]},
		op.PoolMean:     {poolMean[float32], poolMean[float64]},
		op.Mean:         {mean[float32], mean[float64]},
		op.Dense:        {conv[float32], conv[float64]},
		op.Resize:       {resize[float32], resize[float64]},
		op.Shuffle:      {shuffle[float32], shuffle[float64]},
		op.Split:        {split[float32], split[float64]},
		op.Concat:       {concat[float32], concat[float64]},
		op.NTXent:       {ntxent[float32], ntxent[float64]},
		op.ConvInput:    {convInput[float32], convInput[float64]},
		op.ConvWeight:   {convWeight[float32], convWeight[float64]},
		op.NormGrad:     {normGrad[float32], normGrad[float64]},
		op.ConvNormGrad: {convNormGrad[float32], convNormGrad[float64]},
		op.ReLUGrad:     {reluGrad[float32], reluGrad[float64]},
		op.PoolMaxGrad:  {poolMaxGrad[float32], poolMaxGrad[float64]},
		op.PoolMeanGrad: {poolMeanGrad[float32], poolMeanGrad[float64]},
		op.MeanGrad:     {meanGrad[float32], meanGrad[float64]},
		op.DenseInput:   {convInput[float32], convInput[float64]},
		op.DenseWeight:  {convWeight[float32], convWeight[float64]},
		op.ResizeGrad:   {resizeGrad[float32], resizeGrad[float64]},
		op.Copy:         {duplicate[float32], duplicate[float64]},
		op.Pull:         {pull[float32], pull[float64]},
		op.SGD:          {sgd[float32], sgd[float64]},
		op.LARS:         {lars[float32], lars[float64]},
		op.AdamW:        {adamw[float32], adamw[float64]},
	}
}
