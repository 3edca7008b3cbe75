/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's device and capture mode around our calls, what errors mean, and pooled events. */
#include <stdarg.h>
#include <stdio.h>

#include "base/compiler.h"
#include "base/report.h"
#include "device/cuda_impl.h"

/* After these the runtime answers nothing else until the process or the context ends. */
static bool is_sticky(cudaError_t error)
{
	switch (error) {
	case cudaErrorECCUncorrectable:
	case cudaErrorNvlinkUncorrectable:
	case cudaErrorContained:
	case cudaErrorIllegalAddress:
	case cudaErrorLaunchTimeout:
	case cudaErrorContextIsDestroyed:
	case cudaErrorAssert:
	case cudaErrorHardwareStackError:
	case cudaErrorIllegalInstruction:
	case cudaErrorMisalignedAddress:
	case cudaErrorInvalidAddressSpace:
	case cudaErrorInvalidPc:
	case cudaErrorLaunchFailure:
	case cudaErrorTensorMemoryLeak:
	case cudaErrorMpsRpcFailure:
	case cudaErrorExternalDevice:
	case cudaErrorDeviceUninitialized:
	case cudaErrorCudartUnloading:
	case cudaErrorUnknown:
		return true;
	default:
		return false;
	}
}

static int status_of(cudaError_t error)
{
	if (error >= cudaErrorStreamCaptureUnsupported && error <= cudaErrorStreamCaptureWrongThread)
		return KVF_ECAPTURE;
	switch (error) {
	case cudaSuccess:
		return KVF_OK;
	case cudaErrorMemoryAllocation:
	case cudaErrorHostMemoryAlreadyRegistered:
		return KVF_ENOMEM;
	case cudaErrorInvalidValue:
	case cudaErrorInvalidResourceHandle:
		return KVF_EINVAL;
	case cudaErrorNotSupported:
	case cudaErrorCallRequiresNewerDriver:
		return KVF_ENOTSUP;
	case cudaErrorNoDevice:
	case cudaErrorInvalidDevice:
	case cudaErrorDevicesUnavailable:
	case cudaErrorSystemNotReady:
		return KVF_ENODEV;
	case cudaErrorInsufficientDriver:
		return KVF_EDRIVER;
	default:
		return KVF_EIO;
	}
}

int kvf_cuda_refuse(struct kvf_cuda_device *dev, int status, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	kvf_report_add(dev->host->report, dev->trying ? KVF_NOTE : KVF_ERROR, "%s", text);
	if (dev->host->log)
		dev->host->log(dev->host, dev->trying ? KVF_LOG_INFO : KVF_LOG_ERROR, text);
	return status;
}

int kvf_cuda_status(struct kvf_cuda_device *dev, cudaError_t error, const char *what)
{
	if (error == cudaSuccess)
		return KVF_OK;
	/* The host looks at the last error too, and this one is not its. */
	(void)dev->api->GetLastError();
	if (is_sticky(error)) {
		if (!dev->lost)
			kvf_cuda_refuse(dev, KVF_EDEVLOST, "%s: %s: %s: the device is lost", what,
					dev->api->GetErrorName(error), dev->api->GetErrorString(error));
		dev->lost = true;
		return KVF_EDEVLOST;
	}
	return kvf_cuda_refuse(dev, status_of(error), "%s: %s: %s", what, dev->api->GetErrorName(error),
			       dev->api->GetErrorString(error));
}

int kvf_cuda_enter(struct kvf_cuda_device *dev, struct cuda_scope *scope)
{
	int rc;

	scope->mode = cudaStreamCaptureModeRelaxed;
	rc = kvf_cuda_status(dev, dev->api->ThreadExchangeStreamCaptureMode(&scope->mode),
			     "cudaThreadExchangeStreamCaptureMode");
	if (rc)
		return rc;
	rc = kvf_cuda_status(dev, dev->api->GetDevice(&scope->caller), "cudaGetDevice");
	scope->current = scope->caller;
	if (rc && dev->api->ThreadExchangeStreamCaptureMode(&scope->mode) != cudaSuccess)
		(void)dev->api->GetLastError();
	return rc;
}

int kvf_cuda_use(struct kvf_cuda_device *dev, struct cuda_scope *scope, const struct cuda_unit *unit)
{
	int rc;

	if (scope->current == unit->ordinal)
		return KVF_OK;
	rc = kvf_cuda_status(dev, dev->api->SetDevice(unit->ordinal), "cudaSetDevice");
	if (!rc)
		scope->current = unit->ordinal;
	return rc;
}

/* What is not given back now stays until the process ends: one bad answer is asked for again, even one that says that
 * the device is lost. */
int kvf_cuda_enter_to_free(struct kvf_cuda_device *dev, struct cuda_scope *scope)
{
	int rc = kvf_cuda_enter(dev, scope);

	return rc ? kvf_cuda_enter(dev, scope) : rc;
}

int kvf_cuda_use_to_free(struct kvf_cuda_device *dev, struct cuda_scope *scope, const struct cuda_unit *unit)
{
	int rc = kvf_cuda_use(dev, scope, unit);

	return rc ? kvf_cuda_use(dev, scope, unit) : rc;
}

/* Twice, should the first try fail: what the caller had is worth it. */
void kvf_cuda_leave(struct kvf_cuda_device *dev, const struct cuda_scope *scope)
{
	enum cudaStreamCaptureMode mode = scope->mode;

	if (scope->current != scope->caller && dev->api->SetDevice(scope->caller) != cudaSuccess)
		(void)kvf_cuda_status(dev, dev->api->SetDevice(scope->caller), "cudaSetDevice");
	if (dev->api->ThreadExchangeStreamCaptureMode(&mode) == cudaSuccess)
		return;
	mode = scope->mode;
	(void)kvf_cuda_status(dev, dev->api->ThreadExchangeStreamCaptureMode(&mode),
			      "cudaThreadExchangeStreamCaptureMode");
}

int kvf_cuda_event_get(struct kvf_cuda_device *dev, struct cuda_unit *unit, cudaEvent_t *out)
{
	void *events = unit->events;
	cudaEvent_t event;
	int rc;

	if (unit->events_free) {
		*out = unit->events[--unit->events_free];
		return KVF_OK;
	}
	if (unit->events_made == CUDA_EVENTS_MAX)
		return KVF_EAGAIN;
	/* Room for every event that exists: putting one back cannot fail. */
	rc = kvf_mem_grow(dev->mem, &events, &unit->events_cap, unit->events_made + 1, sizeof(*unit->events));
	unit->events = events;
	if (rc)
		return rc;
	rc = kvf_cuda_status(dev, dev->api->EventCreateWithFlags(&event, cudaEventDisableTiming),
			     "cudaEventCreateWithFlags");
	if (rc)
		return rc;
	unit->events_made++;
	*out = event;
	return KVF_OK;
}

void kvf_cuda_event_put(struct cuda_unit *unit, cudaEvent_t event)
{
	unit->events[unit->events_free++] = event;
}
