"""The onnx tier: heavier models on the CPU, where the settings name them. Start at `scorers`."""
