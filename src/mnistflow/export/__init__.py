"""Export: conversion of the trained model to ONNX, with a parity check. Imports `learners`, `tasks`, `runtime`."""
