"""Operations: tensors in, tensors out, without layers or variables."""
