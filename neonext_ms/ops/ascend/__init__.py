"""The AscendC operators of an Ascend NPU."""
