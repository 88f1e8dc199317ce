package driver

import "strings"

// lib is one of NVIDIA's libraries.
type lib int

const (
	libcuda lib = iota
	libnvrtc
	libcublasLt
	libcudnn
	libnvml
	numLibs
)

// row is a function that is bound: where it lies, under which name, and what
// NVIDIA's header declares it to be. All arguments and results are integers and
// pointers of at most 8 bytes, which is what library.call can pass.
type row struct {
	lib       lib
	name      string
	prototype string
}

// proc is a bound function, an index of rows.
type proc int

const (
	cuInit proc = iota
	cuDriverGetVersion
	cuGetErrorName
	cuGetErrorString
	cuDeviceGetCount
	cuDeviceGet
	cuDeviceGetName
	cuDeviceGetAttribute
	cuDeviceTotalMem
	cuDeviceGetPCIBusID
	cuDevicePrimaryCtxRetain
	cuDevicePrimaryCtxRelease
	cuCtxSetCurrent
	cuMemGetInfo
	cuMemAlloc
	cuMemFree
	cuMemAllocHost
	cuMemFreeHost
	cuMemsetD8Async
	cuMemcpyHtoDAsync
	cuMemcpyDtoHAsync
	cuMemcpyDtoDAsync
	cuModuleLoadData
	cuModuleUnload
	cuModuleGetFunction
	cuFuncSetAttribute
	cuLaunchKernel
	cuStreamCreate
	cuStreamDestroy
	cuStreamSynchronize
	cuStreamWaitEvent
	cuStreamBeginCapture
	cuStreamEndCapture
	cuGraphInstantiate
	cuGraphDestroy
	cuGraphLaunch
	cuGraphExecDestroy
	cuEventCreate
	cuEventDestroy
	cuEventRecord
	cuEventQuery
	cuEventSynchronize
	cuEventElapsedTime

	nvrtcVersion
	nvrtcGetErrorString
	nvrtcGetNumSupportedArchs
	nvrtcGetSupportedArchs
	nvrtcCreateProgram
	nvrtcDestroyProgram
	nvrtcCompileProgram
	nvrtcGetProgramLogSize
	nvrtcGetProgramLog
	nvrtcGetCUBINSize
	nvrtcGetCUBIN
	nvrtcGetPTXSize
	nvrtcGetPTX

	cublasLtGetVersion
	cublasLtGetStatusName
	cublasLtGetStatusString
	cublasLtCreate
	cublasLtDestroy
	cublasLtMatmulDescCreate
	cublasLtMatmulDescDestroy
	cublasLtMatmulDescSetAttribute
	cublasLtMatrixLayoutCreate
	cublasLtMatrixLayoutDestroy
	cublasLtMatrixLayoutSetAttribute
	cublasLtMatmulPreferenceCreate
	cublasLtMatmulPreferenceDestroy
	cublasLtMatmulPreferenceSetAttribute
	cublasLtMatmulAlgoGetHeuristic
	cublasLtMatmul

	cudnnGetVersion
	cudnnGetCudartVersion
	cudnnGetErrorString
	cudnnGetLastErrorString
	cudnnCreate
	cudnnDestroy
	cudnnSetStream
	cudnnCreateTensorDescriptor
	cudnnSetTensor4dDescriptor
	cudnnDestroyTensorDescriptor
	cudnnCreateFilterDescriptor
	cudnnSetFilter4dDescriptor
	cudnnDestroyFilterDescriptor
	cudnnCreateConvolutionDescriptor
	cudnnSetConvolution2dDescriptor
	cudnnSetConvolutionGroupCount
	cudnnSetConvolutionMathType
	cudnnDestroyConvolutionDescriptor
	cudnnGetForwardAlgorithm
	cudnnGetBackwardDataAlgorithm
	cudnnGetBackwardFilterAlgorithm
	cudnnFindForwardAlgorithm
	cudnnFindBackwardDataAlgorithm
	cudnnFindBackwardFilterAlgorithm
	cudnnConvolutionForward
	cudnnConvolutionBackwardData
	cudnnConvolutionBackwardFilter

	nvmlInit
	nvmlShutdown
	nvmlErrorString
	nvmlSystemGetDriverVersion
	nvmlDeviceGetHandleByPciBusID
	nvmlDeviceGetMemoryInfo
	nvmlDeviceGetUtilizationRates
	numProcs
)

// rows are the functions by their proc. Prototypes are the headers' of CUDA 13
// and cuDNN 9; a test compares them. Where a header renames a function by a
// macro (cuMemAlloc to cuMemAlloc_v2), the row has the name in the library.
var rows = [numProcs]row{
	cuInit:                    cuda("CUresult cuInit(unsigned int Flags)"),
	cuDriverGetVersion:        cuda("CUresult cuDriverGetVersion(int *driverVersion)"),
	cuGetErrorName:            cuda("CUresult cuGetErrorName(CUresult error, const char **pStr)"),
	cuGetErrorString:          cuda("CUresult cuGetErrorString(CUresult error, const char **pStr)"),
	cuDeviceGetCount:          cuda("CUresult cuDeviceGetCount(int *count)"),
	cuDeviceGet:               cuda("CUresult cuDeviceGet(CUdevice *device, int ordinal)"),
	cuDeviceGetName:           cuda("CUresult cuDeviceGetName(char *name, int len, CUdevice dev)"),
	cuDeviceGetAttribute:      cuda("CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)"),
	cuDeviceTotalMem:          cuda("CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)"),
	cuDeviceGetPCIBusID:       cuda("CUresult cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev)"),
	cuDevicePrimaryCtxRetain:  cuda("CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)"),
	cuDevicePrimaryCtxRelease: cuda("CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)"),
	cuCtxSetCurrent:           cuda("CUresult cuCtxSetCurrent(CUcontext ctx)"),
	cuMemGetInfo:              cuda("CUresult cuMemGetInfo_v2(size_t *free, size_t *total)"),
	cuMemAlloc:                cuda("CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)"),
	cuMemFree:                 cuda("CUresult cuMemFree_v2(CUdeviceptr dptr)"),
	cuMemAllocHost:            cuda("CUresult cuMemAllocHost_v2(void **pp, size_t bytesize)"),
	cuMemFreeHost:             cuda("CUresult cuMemFreeHost(void *p)"),
	cuMemsetD8Async:           cuda("CUresult cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream)"),
	cuMemcpyHtoDAsync:         cuda("CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream)"),
	cuMemcpyDtoHAsync:         cuda("CUresult cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream)"),
	cuMemcpyDtoDAsync:         cuda("CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream)"),
	cuModuleLoadData:          cuda("CUresult cuModuleLoadData(CUmodule *module, const void *image)"),
	cuModuleUnload:            cuda("CUresult cuModuleUnload(CUmodule hmod)"),
	cuModuleGetFunction:       cuda("CUresult cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)"),
	cuFuncSetAttribute:        cuda("CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value)"),
	cuLaunchKernel:            cuda("CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra)"),
	cuStreamCreate:            cuda("CUresult cuStreamCreate(CUstream *phStream, unsigned int Flags)"),
	cuStreamDestroy:           cuda("CUresult cuStreamDestroy_v2(CUstream hStream)"),
	cuStreamSynchronize:       cuda("CUresult cuStreamSynchronize(CUstream hStream)"),
	cuStreamWaitEvent:         cuda("CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags)"),
	cuStreamBeginCapture:      cuda("CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode)"),
	cuStreamEndCapture:        cuda("CUresult cuStreamEndCapture(CUstream hStream, CUgraph *phGraph)"),
	cuGraphInstantiate:        cuda("CUresult cuGraphInstantiateWithFlags(CUgraphExec *phGraphExec, CUgraph hGraph, unsigned long long flags)"),
	cuGraphDestroy:            cuda("CUresult cuGraphDestroy(CUgraph hGraph)"),
	cuGraphLaunch:             cuda("CUresult cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream)"),
	cuGraphExecDestroy:        cuda("CUresult cuGraphExecDestroy(CUgraphExec hGraphExec)"),
	cuEventCreate:             cuda("CUresult cuEventCreate(CUevent *phEvent, unsigned int Flags)"),
	cuEventDestroy:            cuda("CUresult cuEventDestroy_v2(CUevent hEvent)"),
	cuEventRecord:             cuda("CUresult cuEventRecord(CUevent hEvent, CUstream hStream)"),
	cuEventQuery:              cuda("CUresult cuEventQuery(CUevent hEvent)"),
	cuEventSynchronize:        cuda("CUresult cuEventSynchronize(CUevent hEvent)"),
	cuEventElapsedTime:        cuda("CUresult cuEventElapsedTime(float *pMilliseconds, CUevent hStart, CUevent hEnd)"),

	nvrtcVersion:              nvrtc("nvrtcResult nvrtcVersion(int *major, int *minor)"),
	nvrtcGetErrorString:       nvrtc("const char *nvrtcGetErrorString(nvrtcResult result)"),
	nvrtcGetNumSupportedArchs: nvrtc("nvrtcResult nvrtcGetNumSupportedArchs(int *numArchs)"),
	nvrtcGetSupportedArchs:    nvrtc("nvrtcResult nvrtcGetSupportedArchs(int *supportedArchs)"),
	nvrtcCreateProgram:        nvrtc("nvrtcResult nvrtcCreateProgram(nvrtcProgram *prog, const char *src, const char *name, int numHeaders, const char *const *headers, const char *const *includeNames)"),
	nvrtcDestroyProgram:       nvrtc("nvrtcResult nvrtcDestroyProgram(nvrtcProgram *prog)"),
	nvrtcCompileProgram:       nvrtc("nvrtcResult nvrtcCompileProgram(nvrtcProgram prog, int numOptions, const char *const *options)"),
	nvrtcGetProgramLogSize:    nvrtc("nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram prog, size_t *logSizeRet)"),
	nvrtcGetProgramLog:        nvrtc("nvrtcResult nvrtcGetProgramLog(nvrtcProgram prog, char *log)"),
	nvrtcGetCUBINSize:         nvrtc("nvrtcResult nvrtcGetCUBINSize(nvrtcProgram prog, size_t *cubinSizeRet)"),
	nvrtcGetCUBIN:             nvrtc("nvrtcResult nvrtcGetCUBIN(nvrtcProgram prog, char *cubin)"),
	nvrtcGetPTXSize:           nvrtc("nvrtcResult nvrtcGetPTXSize(nvrtcProgram prog, size_t *ptxSizeRet)"),
	nvrtcGetPTX:               nvrtc("nvrtcResult nvrtcGetPTX(nvrtcProgram prog, char *ptx)"),

	cublasLtGetVersion:                   blasLt("size_t cublasLtGetVersion(void)"),
	cublasLtGetStatusName:                blasLt("const char *cublasLtGetStatusName(cublasStatus_t status)"),
	cublasLtGetStatusString:              blasLt("const char *cublasLtGetStatusString(cublasStatus_t status)"),
	cublasLtCreate:                       blasLt("cublasStatus_t cublasLtCreate(cublasLtHandle_t *lightHandle)"),
	cublasLtDestroy:                      blasLt("cublasStatus_t cublasLtDestroy(cublasLtHandle_t lightHandle)"),
	cublasLtMatmulDescCreate:             blasLt("cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *matmulDesc, cublasComputeType_t computeType, cudaDataType_t scaleType)"),
	cublasLtMatmulDescDestroy:            blasLt("cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmulDesc)"),
	cublasLtMatmulDescSetAttribute:       blasLt("cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmulDesc, cublasLtMatmulDescAttributes_t attr, const void *buf, size_t sizeInBytes)"),
	cublasLtMatrixLayoutCreate:           blasLt("cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *matLayout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld)"),
	cublasLtMatrixLayoutDestroy:          blasLt("cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t matLayout)"),
	cublasLtMatrixLayoutSetAttribute:     blasLt("cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t matLayout, cublasLtMatrixLayoutAttribute_t attr, const void *buf, size_t sizeInBytes)"),
	cublasLtMatmulPreferenceCreate:       blasLt("cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *pref)"),
	cublasLtMatmulPreferenceDestroy:      blasLt("cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t pref)"),
	cublasLtMatmulPreferenceSetAttribute: blasLt("cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t pref, cublasLtMatmulPreferenceAttributes_t attr, const void *buf, size_t sizeInBytes)"),
	cublasLtMatmulAlgoGetHeuristic:       blasLt("cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t lightHandle, cublasLtMatmulDesc_t operationDesc, cublasLtMatrixLayout_t Adesc, cublasLtMatrixLayout_t Bdesc, cublasLtMatrixLayout_t Cdesc, cublasLtMatrixLayout_t Ddesc, cublasLtMatmulPreference_t preference, int requestedAlgoCount, cublasLtMatmulHeuristicResult_t heuristicResultsArray[], int *returnAlgoCount)"),
	cublasLtMatmul:                       blasLt("cublasStatus_t cublasLtMatmul(cublasLtHandle_t lightHandle, cublasLtMatmulDesc_t computeDesc, const void *alpha, const void *A, cublasLtMatrixLayout_t Adesc, const void *B, cublasLtMatrixLayout_t Bdesc, const void *beta, const void *C, cublasLtMatrixLayout_t Cdesc, void *D, cublasLtMatrixLayout_t Ddesc, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspaceSizeInBytes, cudaStream_t stream)"),

	cudnnGetVersion:                   dnn("size_t cudnnGetVersion(void)"),
	cudnnGetCudartVersion:             dnn("size_t cudnnGetCudartVersion(void)"),
	cudnnGetErrorString:               dnn("const char *cudnnGetErrorString(cudnnStatus_t status)"),
	cudnnGetLastErrorString:           dnn("void cudnnGetLastErrorString(char *message, size_t max_size)"),
	cudnnCreate:                       dnn("cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)"),
	cudnnDestroy:                      dnn("cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)"),
	cudnnSetStream:                    dnn("cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t streamId)"),
	cudnnCreateTensorDescriptor:       dnn("cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *tensorDesc)"),
	cudnnSetTensor4dDescriptor:        dnn("cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensorDesc, cudnnTensorFormat_t format, cudnnDataType_t dataType, int n, int c, int h, int w)"),
	cudnnDestroyTensorDescriptor:      dnn("cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensorDesc)"),
	cudnnCreateFilterDescriptor:       dnn("cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *filterDesc)"),
	cudnnSetFilter4dDescriptor:        dnn("cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filterDesc, cudnnDataType_t dataType, cudnnTensorFormat_t format, int k, int c, int h, int w)"),
	cudnnDestroyFilterDescriptor:      dnn("cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filterDesc)"),
	cudnnCreateConvolutionDescriptor:  dnn("cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *convDesc)"),
	cudnnSetConvolution2dDescriptor:   dnn("cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convDesc, int pad_h, int pad_w, int u, int v, int dilation_h, int dilation_w, cudnnConvolutionMode_t mode, cudnnDataType_t computeType)"),
	cudnnSetConvolutionGroupCount:     dnn("cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convDesc, int groupCount)"),
	cudnnSetConvolutionMathType:       dnn("cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convDesc, cudnnMathType_t mathType)"),
	cudnnDestroyConvolutionDescriptor: dnn("cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convDesc)"),
	cudnnGetForwardAlgorithm:          dnn("cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t srcDesc, const cudnnFilterDescriptor_t filterDesc, const cudnnConvolutionDescriptor_t convDesc, const cudnnTensorDescriptor_t destDesc, const int requestedAlgoCount, int *returnedAlgoCount, cudnnConvolutionFwdAlgoPerf_t *perfResults)"),
	cudnnGetBackwardDataAlgorithm:     dnn("cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t handle, const cudnnFilterDescriptor_t filterDesc, const cudnnTensorDescriptor_t diffDesc, const cudnnConvolutionDescriptor_t convDesc, const cudnnTensorDescriptor_t gradDesc, const int requestedAlgoCount, int *returnedAlgoCount, cudnnConvolutionBwdDataAlgoPerf_t *perfResults)"),
	cudnnGetBackwardFilterAlgorithm:   dnn("cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t srcDesc, const cudnnTensorDescriptor_t diffDesc, const cudnnConvolutionDescriptor_t convDesc, const cudnnFilterDescriptor_t gradDesc, const int requestedAlgoCount, int *returnedAlgoCount, cudnnConvolutionBwdFilterAlgoPerf_t *perfResults)"),
	cudnnFindForwardAlgorithm:         dnn("cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(cudnnHandle_t handle, const cudnnTensorDescriptor_t xDesc, const void *x, const cudnnFilterDescriptor_t wDesc, const void *w, const cudnnConvolutionDescriptor_t convDesc, const cudnnTensorDescriptor_t yDesc, void *y, const int requestedAlgoCount, int *returnedAlgoCount, cudnnConvolutionFwdAlgoPerf_t *perfResults, void *workSpace, size_t workSpaceSizeInBytes)"),
	cudnnFindBackwardDataAlgorithm:    dnn("cudnnStatus_t cudnnFindConvolutionBackwardDataAlgorithmEx(cudnnHandle_t handle, const cudnnFilterDescriptor_t wDesc, const void *w, const cudnnTensorDescriptor_t dyDesc, const void *dy, const cudnnConvolutionDescriptor_t convDesc, const cudnnTensorDescriptor_t dxDesc, void *dx, const int requestedAlgoCount, int *returnedAlgoCount, cudnnConvolutionBwdDataAlgoPerf_t *perfResults, void *workSpace, size_t workSpaceSizeInBytes)"),
	cudnnFindBackwardFilterAlgorithm:  dnn("cudnnStatus_t cudnnFindConvolutionBackwardFilterAlgorithmEx(cudnnHandle_t handle, const cudnnTensorDescriptor_t xDesc, const void *x, const cudnnTensorDescriptor_t dyDesc, const void *y, const cudnnConvolutionDescriptor_t convDesc, const cudnnFilterDescriptor_t dwDesc, void *dw, const int requestedAlgoCount, int *returnedAlgoCount, cudnnConvolutionBwdFilterAlgoPerf_t *perfResults, void *workSpace, size_t workSpaceSizeInBytes)"),
	cudnnConvolutionForward:           dnn("cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t xDesc, const void *x, const cudnnFilterDescriptor_t wDesc, const void *w, const cudnnConvolutionDescriptor_t convDesc, cudnnConvolutionFwdAlgo_t algo, void *workSpace, size_t workSpaceSizeInBytes, const void *beta, const cudnnTensorDescriptor_t yDesc, void *y)"),
	cudnnConvolutionBackwardData:      dnn("cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha, const cudnnFilterDescriptor_t wDesc, const void *w, const cudnnTensorDescriptor_t dyDesc, const void *dy, const cudnnConvolutionDescriptor_t convDesc, cudnnConvolutionBwdDataAlgo_t algo, void *workSpace, size_t workSpaceSizeInBytes, const void *beta, const cudnnTensorDescriptor_t dxDesc, void *dx)"),
	cudnnConvolutionBackwardFilter:    dnn("cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t xDesc, const void *x, const cudnnTensorDescriptor_t dyDesc, const void *dy, const cudnnConvolutionDescriptor_t convDesc, cudnnConvolutionBwdFilterAlgo_t algo, void *workSpace, size_t workSpaceSizeInBytes, const void *beta, const cudnnFilterDescriptor_t dwDesc, void *dw)"),

	nvmlInit:                      ml("nvmlReturn_t nvmlInit_v2(void)"),
	nvmlShutdown:                  ml("nvmlReturn_t nvmlShutdown(void)"),
	nvmlErrorString:               ml("const char *nvmlErrorString(nvmlReturn_t result)"),
	nvmlSystemGetDriverVersion:    ml("nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)"),
	nvmlDeviceGetHandleByPciBusID: ml("nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *pciBusId, nvmlDevice_t *device)"),
	nvmlDeviceGetMemoryInfo:       ml("nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)"),
	nvmlDeviceGetUtilizationRates: ml("nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization)"),
}

func cuda(prototype string) row   { return bound(libcuda, prototype) }
func nvrtc(prototype string) row  { return bound(libnvrtc, prototype) }
func blasLt(prototype string) row { return bound(libcublasLt, prototype) }
func dnn(prototype string) row    { return bound(libcudnn, prototype) }
func ml(prototype string) row     { return bound(libnvml, prototype) }

// bound makes a row; the name is the word before the parenthesis.
func bound(l lib, prototype string) row {
	head, _, _ := strings.Cut(prototype, "(")
	return row{l, head[strings.LastIndexAny(head, " *")+1:], prototype}
}
